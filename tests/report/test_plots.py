"""Pictures: the smoothing against what it has to keep, and files that are what they say."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from gte_ray.evaluation.heldout import SourceScores
from gte_ray.evaluation.scoreboard import scoreboard
from gte_ray.evaluation.task_results import TaskResult
from gte_ray.report.benchmark import plot
from gte_ray.report.plots import loss_curve, scores_plot, smooth


def row(source, value):
    return SourceScores(
        source=source,
        queries=5,
        documents=9,
        ndcg_at_10=value,
        mrr_at_10=value,
        recall_at_1=0,
        recall_at_10=1,
    )


@pytest.mark.parametrize("count", [1, 2, 3, 40, 5_000])
def testsmoothing_keeps_a_straight_line_and_removes_noise(count):
    x = np.arange(count)
    at, line = smooth(x, 3 - 0.5 * x)
    np.testing.assert_allclose(line, 3 - 0.5 * at, atol=1e-6)
    if count == 5_000:
        noise = np.random.default_rng(0).normal(size=count)
        assert np.abs(smooth(x, 3 + noise)[1] - 3).max() < 0.3


@pytest.mark.parametrize("steps", [0, 1, 300])
def test_loss_curve(tmp_path, steps):
    sources = [("code", "qa", "news")[step % 3] for step in range(steps)]
    losses = [float("nan") if step == 7 else 1 / (step + 1) for step in range(steps)]
    png, svg = loss_curve(range(steps), losses, sources, str(tmp_path / "plots/loss"))
    assert imread(png).std() > 0.01
    first = Path(svg).read_bytes()
    loss_curve(range(steps), losses, sources, str(tmp_path / "plots/loss"))
    assert Path(svg).read_bytes() == first and first.startswith(b"<?xml")


def test_names_are_drawn_as_they_are(tmp_path):
    """As mathematics, `$a` and `^b$` lose their dollars, and two single ones raise; a legend leaves `_c` out."""
    rows = [row("$a_{b$", 0.5), row("x$^2$", 0.4)]
    _, svg = scores_plot(rows, rows, rows, str(tmp_path / "scores"))
    losses = loss_curve(range(4), [1.0] * 4, ["$a_{b$", "x$^2$"] * 2, str(tmp_path / "loss"))
    result = TaskResult("_hidden", "$a_{b$", "STS", {"main": 0.5})
    shown = scoreboard("x$^2$", [result], "main", [], False)
    bars = plot(shown, str(tmp_path / "bars"))
    for written in (svg, losses[1], bars[1]):
        assert all(f"<!-- {name}" in Path(written).read_text() for name in ("$a_{b$", "x$^2$"))
    assert "<!--  _hidden -->" in Path(bars[1]).read_text()


@pytest.mark.parametrize("count", [1, 12])
def test_scores_plot(tmp_path, count):
    rows = [row(f"source-{i}", i / 12) for i in range(count)]
    png, svg = scores_plot(rows, rows[::-1] if count == 1 else rows, rows, str(tmp_path / "scores"))
    assert imread(png).std() > 0.01 and Path(svg).read_text().count("<g id=") > 10
