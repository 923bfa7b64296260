"""The table: averages, what is missing, the paper's rows, names of models."""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from gte_ray.cli.tables import benchmark_table
from gte_ray.evaluation.compare import compare
from gte_ray.evaluation.mteb.paper import MTEB, PaperRow
from gte_ray.evaluation.scoreboard import labels, scoreboard, table_csv
from gte_ray.evaluation.task_results import TaskResult
from gte_ray.report.benchmark import Benchmarked, html, markdown, plot


def results():
    """Two models on two tasks of one category and one of another; one task of the second model failed."""
    found = []
    for model, scores in (("runs/one/model", (0.1, 0.2, 0.6)), ("runs/two/model", (0.3, None, 0.5))):
        for (task, kind), value in zip((("a", "STS"), ("b", "STS"), ("c", "Retrieval")), scores, strict=True):
            error = "" if value is not None else "b: away"
            found.append(TaskResult(model, task, kind, {"main": value} if value is not None else {}, error))
    return found


def written(found, *others, results=(), comparisons=()):
    """report.md."""
    return markdown(
        Benchmarked("bench", "", (), tuple(results), (found, *others), tuple(comparisons)), "command"
    )


def test_a_row_for_each_task_beside_the_papers():
    found = scoreboard("bench", results(), "main", [PaperRow("GTE", {"a": 50.0, "c": 70.0}, 60.0)], False)
    assert found.columns == ("a", "b", "c")
    text = written(found)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines[0] == "| task | one/model | two/model | paper: GTE |"
    assert lines[2:] == [
        "| a | 10.0 | 30.0 | 50.0 |",
        "| b | 20.0 |  |  |",
        "| c | 60.0 | 50.0 | 70.0 |",
        "| average | 30.0 |  | 60.0 |",
    ]
    assert "- two/model: b: away" in text
    assert "`command`" in text


def test_a_column_for_each_category_and_the_average_over_tasks():
    found = scoreboard("mteb", results(), "main", MTEB, True)
    assert found.columns == ("Retrieval", "STS")  # in the order of Table 6
    one, two = found.rows[:2]
    assert one.scores == pytest.approx({"STS": 15.0, "Retrieval": 60.0})
    assert one.average == pytest.approx(30.0)  # of three tasks, not of two categories
    assert two.scores == pytest.approx({"Retrieval": 50.0})
    assert two.average != two.average
    lines = [line for line in written(found).splitlines() if line.startswith("|")]
    assert lines[0] == "|  | Retr. | STS | average |"
    assert len(lines) == 2 + 2 + len(MTEB)
    assert benchmark_table(found).row_count == 2 + len(MTEB)


def test_intervals_and_comparisons_stand_in_both_reports():
    by_query = [
        TaskResult(model, task, kind, {"main": share}, queries={"": {f"q{i}": float(i < 100 * share) for i in range(100)}})
        for model, share in (("runs/one/model", 0.4), ("runs/two/model", 0.7))
        for task, kind in (("a", "Retrieval"), ("b", "Reranking"))
    ]  # fmt: skip
    found = scoreboard("bench", by_query, "main", [], True)
    comparisons = compare("bench", by_query)
    text = written(found, results=by_query, comparisons=comparisons)
    assert "## bench: two/model against one/model, %" in text
    assert "| a | 100 | 40.0 | 70.0 | +30.0 |" in text and "paired bootstrap" in text
    text = html(Benchmarked("bench", "", (), tuple(by_query), (found,), tuple(comparisons)), "command")
    assert "bench: two/model against one/model, %" in text
    assert text.index("bench by task, %") < text.index('class="interval"'), "of tasks, not of categories"
    (half, *_) = re.findall(r"<span>one/model</span>.*<span>40.0 ± (\d+\.\d)</span>", text)
    assert float(half) == pytest.approx(100 * 1.96 * (0.4 * 0.6 / 100) ** 0.5, rel=0.08)


def test_a_table_has_a_row_for_each_score():
    assert table_csv(results()).splitlines()[:2] == [
        "model,task,category,metric,score",
        "runs/one/model,a,STS,main,0.1",
    ]


def test_a_plot_has_bars_for_each_model_and_paler_ones_for_the_papers(monkeypatch):
    drawn: list[Figure] = []
    monkeypatch.setattr("gte_ray.report.benchmark.save", lambda figure, path: drawn.append(figure) or [])
    plot(
        scoreboard("bench", results(), "main", [PaperRow("GTE", {"a": 50.0, "c": 70.0}, 60.0)], False), "plot"
    )
    (axes,) = drawn[0].axes
    heights = {bars.get_label(): [bar.get_height() for bar in bars] for bars in axes.containers}
    assert heights == {
        "one/model": pytest.approx([10, 20, 60]),
        "two/model": pytest.approx([30, 0, 50]),
        "paper: GTE": pytest.approx([50, 0, 70]),
    }
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(heights)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    assert (axes.get_title("left"), axes.get_ylabel()) == ("bench", "%")
    one, two, paper = (list(bars) for bars in axes.containers)
    assert paper[0].get_alpha() < 1.0 == one[0].get_alpha() == two[0].get_alpha()
    for place, bars in enumerate(zip(one, two, paper, strict=True)):
        starts = [bar.get_x() for bar in bars]
        assert starts == sorted(starts) and np.diff(starts) == pytest.approx([bars[0].get_width()] * 2)
        assert place - 0.5 < starts[0] and starts[2] + bars[2].get_width() < place + 0.5


def test_a_plot_is_written_as_png_and_svg(tmp_path):
    png, svg = plot(scoreboard("bench", results(), "main", [], False), str(tmp_path / "plot"))
    assert imread(png).shape[:2] == (660, 900)
    assert "<svg" in Path(svg).read_text()


def test_models_are_named_by_the_end_of_their_path_that_differs():
    assert labels(["/a/runs/x/model", "bm25", "org/name"]) == {
        "/a/runs/x/model": "x/model", "bm25": "bm25", "org/name": "org/name",
    }  # fmt: skip
    assert labels(["/a/x/model", "/b/x/model"]) == {"/a/x/model": "a/x/model", "/b/x/model": "b/x/model"}
