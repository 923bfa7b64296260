"""The paper's figure redrawn: our scores with their spread, the paper's beside them on an axis of their own."""

from collections.abc import Sequence
from statistics import mean, stdev

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from gte_ray.ablation.report import Line, Report
from gte_ray.plots import BM25, GREY, STYLE, legend_name, save, smooth

OURS, PAPER = "#2563eb", BM25
SHADES = ("#93c5fd", "#3b82f6", "#1e3a8a", "#0f172a", "#f59e0b", "#b45309")

Curve = tuple[str, Sequence[tuple[int, float]]]
"""A row's name, and its steps and losses."""


def ablation_plot(report: Report, curves: Sequence[Curve], path: str) -> list[str]:
    """Scores by row, with the losses of all rows below each other's on one axis where there are `curves`."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2 if curves else 1, figsize=(12 if curves else 7, 4.4), squeeze=False)
        _scores(axes[0][0], report)
        if curves:
            _losses(axes[0][1], curves)
        return save(figure, path)


def _scores(axes: Axes, report: Report) -> None:
    lines, ablation = report.lines, report.ablation
    numeric = all(line.x is not None for line in lines)
    x = [float(number) if line.x is None else line.x for number, line in enumerate(lines)]
    style = "o-" if numeric else "o"
    for number, series in enumerate(dict.fromkeys(line.series for line in lines)):
        ours = [
            (place, line.measured)
            for place, line in zip(x, lines, strict=True)
            if line.measured and line.series == series
        ]
        axes.errorbar(
            [place for place, _ in ours],
            [mean(found) for _, found in ours],
            [stdev(found) if len(found) > 1 else 0.0 for _, found in ours],
            fmt=style,
            color=(OURS, *SHADES[2:])[number % len(SHADES)],
            capsize=4,
            label="ours: held-out nDCG@10" + (f", {series}" if series else ""),
        )
    axes.set_ylabel("ours, %", color=OURS)
    axes.set_xlabel(ablation.axis)
    if ablation.logarithmic and numeric:
        axes.set_xscale("log", base=2)
    if numeric and len({line.series for line in lines}) > 1:
        axes.set_xticks(sorted(set(x)), [f"{place:g}" for place in sorted(set(x))])  # names would overlap
    else:
        axes.set_xticks(x, [_tick(line) for line in lines])
    axes.minorticks_off()
    axes.margins(x=0.12, y=0.2)
    paper = [(place, line.paper) for place, line in zip(x, lines, strict=True) if line.paper is not None]
    style = style if len({line.series for line in lines}) == 1 else "o"
    handles = axes.get_legend_handles_labels()
    if len(paper) > 1:
        other = axes.twinx()
        other.spines["right"].set_visible(True)
        other.spines["right"].set_color(GREY)
        other.plot(*zip(*paper, strict=True), style.replace("o", "s"), color=PAPER, label="the paper: MTEB")
        other.set_ylabel("the paper's, %", color=PAPER)
        other.margins(x=0.12, y=0.2)
        more = other.get_legend_handles_labels()
        handles = (handles[0] + more[0], handles[1] + more[1])
    axes.legend(*handles, loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=2, frameon=False)
    axes.set_title(f"{ablation.title}: {ablation.question}", pad=26)


def _tick(line: Line) -> str:
    """A row's name, with the figure that it stands for where the name is not that."""
    if line.x is None or line.name.replace(",", "") == f"{line.x:g}":
        return line.name
    return f"{line.name}\n{line.x:.3g}"


def _losses(axes: Axes, curves: Sequence[Curve]) -> None:
    for number, (name, points) in enumerate(curves):
        if points:
            steps, losses = np.array(points, float).T
            axes.plot(*smooth(steps, losses), color=SHADES[number % len(SHADES)], label=legend_name(name))
    axes.set_xlabel("step")
    axes.set_ylabel("training loss")
    axes.legend(frameon=False)
    axes.set_title("Training loss on the same batches", pad=26)
