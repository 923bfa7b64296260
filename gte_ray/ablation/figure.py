"""Redraw the paper's figure: our scores with their spread, and the paper's on a second axis."""

from collections.abc import Sequence
from statistics import mean, stdev

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from gte_ray.ablation.report import Report, Result
from gte_ray.report.plots import BM25_COLOUR, GREY, STYLE, legend_name, save, smooth

OURS, PAPER = "#2563eb", BM25_COLOUR
SHADES = ("#93c5fd", "#3b82f6", "#1e3a8a", "#0f172a", "#f59e0b", "#b45309")

Curve = tuple[str, Sequence[tuple[int, float]]]
"""A row's name, and its steps and losses."""


def ablation_plot(report: Report, curves: Sequence[Curve], path: str) -> list[str]:
    """Plot the scores by row and, if there are `curves`, all rows' losses beside them; returns the paths."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2 if curves else 1, figsize=(12 if curves else 7, 4.4), squeeze=False)
        _scores(axes[0][0], report)
        if curves:
            _losses(axes[0][1], curves)
        return save(figure, path)


def _scores(axes: Axes, report: Report) -> None:
    results, ablation = report.results, report.ablation
    numeric = all(result.x is not None for result in results)
    x = [float(number) if result.x is None else result.x for number, result in enumerate(results)]
    style = "o-" if numeric else "o"
    for number, series in enumerate(dict.fromkeys(result.series for result in results)):
        ours = [
            (position, result.measured)
            for position, result in zip(x, results, strict=True)
            if result.measured and result.series == series
        ]
        axes.errorbar(
            [position for position, _ in ours],
            [mean(scores) for _, scores in ours],
            [stdev(scores) if len(scores) > 1 else 0.0 for _, scores in ours],
            fmt=style,
            color=(OURS, *SHADES[2:])[number % len(SHADES)],
            capsize=4,
            label=f"ours: {report.metric.label}" + (f", {series}" if series else ""),
        )
    axes.set_ylabel("ours, %", color=OURS)
    axes.set_xlabel(ablation.axis)
    if ablation.logarithmic and numeric:
        axes.set_xscale("log", base=2)
    if numeric and len({result.series for result in results}) > 1:
        axes.set_xticks(sorted(set(x)), [f"{value:g}" for value in sorted(set(x))])  # names would overlap
    else:
        axes.set_xticks(x, [_tick(result) for result in results])
    axes.minorticks_off()
    axes.margins(x=0.12, y=0.2)
    one_series = len({result.series for result in results}) == 1
    handles = _papers(axes, report, x, style if one_series else "o")
    axes.legend(*handles, loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=2, frameon=False)
    axes.set_title(f"{ablation.title}: {ablation.question}", pad=26)


def _papers(axes: Axes, report: Report, x: Sequence[float], style: str) -> tuple[list, list]:
    """Plot the paper's scores, if several, on a second axis; returns handles and labels of both axes."""
    handles, labels = axes.get_legend_handles_labels()
    paper = [
        (position, result.paper)
        for position, result in zip(x, report.results, strict=True)
        if result.paper is not None
    ]
    if len(paper) < 2:
        return handles, labels
    right = axes.twinx()
    right.spines["right"].set_visible(True)
    right.spines["right"].set_color(GREY)
    right.plot(*zip(*paper, strict=True), style.replace("o", "s"), color=PAPER, label="the paper: MTEB")
    right.set_ylabel("the paper's, %", color=PAPER)
    right.margins(x=0.12, y=0.2)
    right_handles, right_labels = right.get_legend_handles_labels()
    return handles + right_handles, labels + right_labels


def _tick(result: Result) -> str:
    """Return a row's name, followed by its value on the axis if the name is not that value."""
    if result.x is None or result.name.replace(",", "") == f"{result.x:g}":
        return result.name
    return f"{result.name}\n{result.x:.3g}"


def _losses(axes: Axes, curves: Sequence[Curve]) -> None:
    for number, (name, points) in enumerate(curves):
        if points:
            steps, losses = np.array(points, float).T
            axes.plot(*smooth(steps, losses), color=SHADES[number % len(SHADES)], label=legend_name(name))
    axes.set_xlabel("step")
    axes.set_ylabel("training loss")
    axes.legend(frameon=False)
    axes.set_title("Training loss on the same batches", pad=26)
