"""Pictures: the smoothing against what it has to keep, what is drawn, and the files that are written."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from gte_ray.evaluation.heldout import SourceScores
from gte_ray.evaluation.scoreboard import scoreboard
from gte_ray.evaluation.task_results import TaskResult
from gte_ray.report.benchmark import plot
from gte_ray.report.plots import DOTS, loss_curve, scores_plot, smooth


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


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """Figures as they are handed on to be saved."""
    found: list[Figure] = []
    monkeypatch.setattr("gte_ray.report.plots.save", lambda figure, path: found.append(figure) or [])
    return found


@pytest.mark.parametrize("count", [1, 2, 3, 40, 5_000])
def test_smoothing_keeps_a_straight_line_and_removes_noise(count):
    x = np.arange(count)
    at, line = smooth(x, 3 - 0.5 * x)
    np.testing.assert_allclose(line, 3 - 0.5 * at, atol=1e-6)
    if count == 5_000:
        noise = np.random.default_rng(0).normal(size=count)
        assert np.abs(smooth(x, 3 + noise)[1] - 3).max() < 0.3


def run_of(steps: int) -> tuple[range, list[float], list[str]]:
    """Steps, losses of which one is no number, and sources."""
    losses = [float("nan") if step == 7 else 1 / (step + 1) for step in range(steps)]
    return range(steps), losses, [("code", "qa", "news")[step % 3] for step in range(steps)]


@pytest.mark.parametrize("steps", [0, 1, 300])
def test_a_loss_curve_has_a_dot_for_each_finite_loss_and_the_smoothed_line(drawn, steps):
    x, losses, sources = run_of(steps)
    loss_curve(x, losses, sources, "loss")
    top = drawn[0].axes[0]
    finite = [(step, loss) for step, loss in zip(x, losses, strict=True) if np.isfinite(loss)]
    dots = np.array(finite).reshape(-1, 2)
    np.testing.assert_allclose(top.collections[0].get_offsets(), dots)
    np.testing.assert_allclose(top.lines[0].get_data(), smooth(*dots.T))
    assert (top.get_xlabel(), top.get_ylabel()) == ("step", "loss")
    if finite:
        (left, right), (low, high) = top.get_xlim(), top.get_ylim()
        assert left <= 0 and right >= steps - 1 and low <= min(dots[:, 1]) and high >= max(dots[:, 1])


def test_a_panel_for_each_source_has_its_dots_and_the_line_of_all(drawn):
    x, losses, sources = run_of(300)
    loss_curve(x, losses, sources, "loss")
    top, *panels = drawn[0].axes
    assert [panel.get_title("left") for panel in panels] == ["code  100", "news  100", "qa  99"]
    for panel in panels:
        name = panel.get_title("left").split()[0]
        own = [step for step in x if sources[step] == name and step != 7]
        np.testing.assert_allclose(panel.collections[0].get_offsets(), [(s, losses[s]) for s in own])
        np.testing.assert_allclose(panel.lines[0].get_data(), top.lines[0].get_data())
        assert (panel.get_xlim(), panel.get_ylim()) == (panels[0].get_xlim(), panels[0].get_ylim())


def test_a_long_run_has_some_of_its_dots(drawn):
    count = 3 * DOTS + 1
    loss_curve(range(count), np.linspace(9, 1, count), ["code"] * count, "loss")
    dots = drawn[0].axes[0].collections[0].get_offsets()
    assert DOTS / 2 < len(dots) <= DOTS and tuple(dots[0]) == (0, 9)


@pytest.mark.parametrize("count", [1, 12])
def test_scores_are_bars_before_and_after_beside_bm25_the_best_at_the_top(drawn, count):
    after = [row(f"source-{i}", (i * 5 % 12) / 12) for i in range(count)]
    before = [row(found.source, found.ndcg_at_10 / 2) for found in after]
    scores_plot(before, after, [row(found.source, 0.4) for found in after], "scores")
    (axes,) = drawn[0].axes
    best_last = sorted((100 * found.ndcg_at_10, found.source) for found in after)
    if count > 1:
        best_last.insert(0, (np.mean([score for score, _ in best_last]), "mean"))
    values = [score for score, _ in best_last]
    assert [label.get_text() for label in axes.get_yticklabels()] == [name for _, name in best_last]
    widths = {bars.get_label(): [bar.get_width() for bar in bars] for bars in axes.containers}
    assert widths == {
        "before training": pytest.approx([value / 2 for value in values]),
        "after training": pytest.approx(values),
        "BM25": pytest.approx([40.0] * len(values)),
    }
    assert [text.get_text() for text in axes.texts] == [f"{w:.1f}" for bars in widths.values() for w in bars]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(widths)
    assert axes.get_xlim() == (0, 105)
    low, high = axes.get_ylim()
    assert all(low < bar.get_y() and bar.get_y() + bar.get_height() < high for bar in axes.patches)


def test_the_same_numbers_give_the_same_files_of_the_figure(tmp_path):
    png, svg = loss_curve(*run_of(300), str(tmp_path / "plots/loss"))
    first = Path(svg).read_bytes()
    assert loss_curve(*run_of(300), str(tmp_path / "plots/loss")) == [png, svg]
    assert Path(svg).read_bytes() == first and first.startswith(b"<?xml")
    height, width, _ = imread(png).shape
    assert (width, height) == (1500, pytest.approx(150 * (3.6 + 1.7), abs=1))


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
