"""Plots of a run: the loss by step and source, and the held-out scores. PNG to view, SVG to print."""

import math
import os
from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from gte_ray.evaluation.heldout import SourceScores, mean_scores

INK, GREY, FAINT = "#1f2937", "#9ca3af", "#e5e7eb"
BEFORE, AFTER, BM25_COLOUR = "#cbd5e1", "#2563eb", "#f59e0b"
LINE = "#1e3a8a"
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.hashsalt": "gte_ray",  # the same numbers give the same file
    "figure.constrained_layout.use": True,
    "text.parse_math": False,  # a $ in a name is a $
}
PANEL_COLUMNS = 4
"""Small panels in a row."""
DOTS, PANEL_DOTS = 3_000, 400
"""Most steps that are drawn as dots, in the large panel and in a small one."""
LINE_POINTS = 300
"""Points of a smoothed line."""


def loss_curve(steps: Sequence[int], losses: Sequence[float], sources: Sequence[str], path: str) -> list[str]:
    """Plots the loss over the steps, and below it a small panel per source. Returns the paths of PNG and SVG.

    Each step has one entry: its number, its loss and the source of its batch. `path` has no extension.
    """
    x, y, names = np.asarray(steps), np.asarray(losses, float), np.asarray(sources)
    kept = np.isfinite(y)
    x, y, names = x[kept], y[kept], names[kept]
    unique, counts = np.unique(names, return_counts=True)
    unique = unique[np.argsort(-counts, kind="stable")]
    rows = math.ceil(len(unique) / PANEL_COLUMNS) if len(unique) > 1 else 0
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(10, 3.6 + 1.7 * rows))
        grid = figure.add_gridspec(1 + rows, PANEL_COLUMNS, height_ratios=[2.4] + [1.0] * rows)
        top = figure.add_subplot(grid[0, :])
        line = smooth(x, y)
        _curve(top, x, y, DOTS, size=6)
        top.set(xlabel="step", ylabel="loss")
        top.set_title("Training loss" + (", and by source with the number of its steps" if rows else ""))
        top.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        top.grid(axis="y", color=FAINT)
        shared: Axes | None = None
        for index, name in enumerate(unique.tolist() if rows else []):
            cell = grid[1 + index // PANEL_COLUMNS, index % PANEL_COLUMNS]
            panel = shared = figure.add_subplot(cell, sharex=shared, sharey=shared)
            panel.plot(*line, color=BEFORE, linewidth=1.5)
            _panel(panel, x[names == name], y[names == name], name)
            panel.tick_params(
                labelleft=index % PANEL_COLUMNS == 0, labelbottom=index >= len(unique) - PANEL_COLUMNS
            )
        return save(figure, path)


def _panel(panel: Axes, x: np.ndarray, y: np.ndarray, name: str) -> None:
    """Draws the panel of one source."""
    _curve(panel, x, y, PANEL_DOTS, size=4)
    panel.set_title(f"{name}  {len(x):,}", fontsize=8.5)
    panel.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    panel.tick_params(labelsize=8)


def scores_plot(
    before: Sequence[SourceScores], after: Sequence[SourceScores], bm25: Sequence[SourceScores], path: str
) -> list[str]:
    """Plots nDCG@10 by source, before and after training and of BM25, best first.

    Returns the paths of PNG and SVG.
    """
    rows = sorted(zip(before, after, bm25, strict=True), key=lambda row: row[1].ndcg_at_10)
    if len(rows) > 1:
        rows.insert(0, (mean_scores(before), mean_scores(after), mean_scores(bm25)))
    y = np.arange(len(rows), dtype=float)
    y[1:] += 0.4 if len(rows) > 1 else 0.0  # sets the mean apart
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8, 1.4 + 0.62 * len(rows)))
        bars = ((0, BEFORE, "before training"), (1, AFTER, "after training"), (2, BM25_COLOUR, "BM25"))
        for index, colour, label in bars:
            values = [100 * row[index].ndcg_at_10 for row in rows]
            drawn = axes.barh(y + 0.27 * (1 - index), values, 0.25, color=colour, label=label)
            axes.bar_label(drawn, fmt="%.1f", padding=3, fontsize=7.5, color=INK)
        axes.set_yticks(y, [row[1].source for row in rows])
        axes.set(xlim=(0, 105), xlabel="nDCG@10, %", ylim=(y[0] - 0.55, y[-1] + 0.55))
        axes.set_title("Held-out retrieval", pad=26)
        axes.grid(axis="x", color=FAINT)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0.2)
        return save(figure, path)


def _curve(axes: Axes, x: np.ndarray, y: np.ndarray, dots: int, size: float) -> None:
    """Draws steps as faint dots, evenly thinned to at most `dots`, and the smoothed line."""
    shown = slice(None, None, math.ceil(max(len(x), 1) / dots))
    axes.scatter(x[shown], y[shown], s=size, color=AFTER, alpha=0.35, linewidths=0)
    axes.plot(*smooth(x, y), color=LINE, linewidth=1.6)


def smooth(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Local linear regression with Gaussian weights. Their standard deviation is 1/40 of the points.

    Unlike a running mean, it does not bend at the ends.
    """
    if len(x) < 3:
        return x, y
    width = max(len(x) / 40, 2.5)
    reach = math.ceil(3 * width)
    centres = np.unique(np.linspace(0, len(x) - 1, min(LINE_POINTS, len(x))).round().astype(int))
    line = np.empty(len(centres))
    for i, centre in enumerate(centres):
        window = slice(max(centre - reach, 0), centre + reach + 1)
        distance = np.arange(len(x))[window] - centre
        weight = np.exp(-0.5 * (distance / width) ** 2)
        # numpy.polyfit squares its weights
        line[i] = np.polyfit(distance, y[window], 1, w=np.sqrt(weight))[1]
    return x[centres], line


def legend_name(name: str) -> str:
    """`name` for a legend, which would leave out a name that begins with an underscore."""
    return f" {name}" if name.startswith("_") else name


def save(figure: Figure, path: str) -> list[str]:
    """Writes PNG and SVG to `path`, which has no extension, and closes the figure. Returns both paths."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    paths = [f"{path}.png", f"{path}.svg"]
    for written in paths:
        metadata = {"Date": None} if written.endswith("svg") else None
        figure.savefig(written, dpi=150, metadata=metadata)
    plt.close(figure)
    return paths
