"""Tables and verdicts from given numbers."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from scipy import stats

from gte_ray.ablation.figure import ablation_plot
from gte_ray.ablation.metric import Metric
from gte_ray.ablation.report import Report, Result, html, markdown, table_csv, verdict
from gte_ray.ablation.study import Ablation, Comparison
from gte_ray.ablation.terminal import console_table


def report(relation, *rows, paper=(50.0, 60.0, 70.0), curves=False, x=True):
    ablation = Ablation(
        title="Table 0",
        question="which?",
        claim="Up.",
        rows=lambda base, setting: [],
        comparisons=lambda names: [Comparison(names[-1], names[0], relation)],
        axis="size",
        curves=curves,
    )
    results = [
        Result(
            f"row{i}",
            float(i) if x else None,
            paper[i],
            step=1,
            fingerprints=(f"{i}",) * len(scores),
            scores=tuple(scores),
            by_part={"docs": 10.0 * i},
        )
        for i, scores in enumerate(rows)
    ]
    return Report("which", ablation, "laptop", "python ablations/run.py which", tuple(results))


@pytest.mark.parametrize(
    ("relation", "low", "high", "word"),
    [
        ("better than", (50, 51, 52), (60, 61.1, 61.9), "holds here"),
        ("better than", (60, 61.1, 61.9), (50, 51, 52), "does not hold here"),
        ("better than", (50, 51, 52), (50.1, 51, 51.9), "cannot be told"),
        ("better than", (50,), (60,), "cannot be told"),
        ("better than", (50, None), (60, 61), "cannot be told"),
        ("better than", (None, None), (60, 61), "cannot be told"),
        ("no better than", (50, 51, 52), (50.1, 51, 51.9), "holds here"),
        ("no better than", (50, 51, 52), (60, 61.1, 61.9), "does not hold here"),
        ("no better than", (50, 51, 52), (50.5, 51, 54), "cannot be told"),
    ],
)
def test_the_verdict_follows_from_differences_and_spread(relation, low, high, word):
    assert f"The claim {word}" in verdict(report(relation, low, high))


def test_the_margin_is_that_of_a_paired_t_interval():
    low, high = np.array([50.0, 53.0, 51.0, 56.0]), np.array([52.0, 54.5, 54.0, 57.0])
    interval = stats.ttest_rel(high, low).confidence_interval(0.95)
    half = (interval.high - interval.low) / 2
    assert f"{(high - low).mean():+.1f} ± {half:.1f} points, 4 seeds" in verdict(
        report("better than", low, high)
    )


def test_tables_hold_ours_with_spread_and_the_papers():
    found = report("better than", (50, 52), (60, None), (None, None))
    text = markdown(found)
    assert "| row0 | 51.0 ± 1.4 | 50.0 |" in text
    assert "| row1 | 60.0 (1 of 2 seeds) | 60.0 |" in text
    assert "| row2 | missing | 70.0 |" in text
    assert "| docs | 0.0 | 10.0 | 20.0 |" in text
    assert "`python ablations/run.py which`" in text
    rows = list(csv.DictReader(io.StringIO(table_csv(found))))
    assert [row["ndcg_at_10_percent"] for row in rows] == ["50", "52", "60", "", "", ""]
    assert console_table(found).row_count == 3


def test_the_page_has_what_the_tables_have():
    found = report("better than", (50, 51, 52), (None, None, None), paper=(50.0, None, 70.0))
    text = html(found, "<svg></svg>")
    assert "Table 0: which?" in text and "Claim: Up." in text and verdict(found).split(".")[0] in text
    assert "<td>51.0 ± 1.0</td><td>50.0</td>" in text and "<td>missing</td><td></td>" in text
    assert text.count('class="bar other"') == 1 and text.count('class="interval"') == 1
    assert "<td>docs</td><td>0.0</td><td>10.0</td>" in text and "<svg></svg>" in text


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """Figures as they are handed on to be saved."""
    found: list[Figure] = []
    monkeypatch.setattr("gte_ray.ablation.figure.save", lambda figure, path: found.append(figure) or [])
    return found


def points(axes: Axes) -> list[tuple[float, float]]:
    return [tuple(point) for point in axes.lines[0].get_xydata()]


@pytest.mark.parametrize("x", [True, False])
@pytest.mark.parametrize("paper", [(50.0, 60.0, 70.0), (None, 59.0, None), (None, None, None)])
def test_a_plot_has_our_means_with_their_spread_and_the_papers_scores_on_an_axis_of_their_own(
    drawn, paper, x
):
    found = report("better than", (50, 52), (60, None), (None, None), paper=paper, x=x)
    ablation_plot(found, [], "plot")
    ours, *others = drawn[0].axes
    assert points(ours) == [(0, 51), (1, 60)]
    spread = ours.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose(spread, [[[0, 51 - 2**0.5], [0, 51 + 2**0.5]], [[1, 60], [1, 60]]])
    assert [label.get_text() for label in ours.get_xticklabels()] == (
        ["row0\n0", "row1\n1", "row2\n2"] if x else ["row0", "row1", "row2"]
    )
    assert (ours.get_xlabel(), ours.get_ylabel()) == ("size", "ours, %")
    labels = [text.get_text() for text in ours.get_legend().get_texts()]
    if paper[0] is None:  # one score alone tells nothing
        assert (others, labels) == ([], ["ours: held-out nDCG@10"])
    else:
        assert points(others[0]) == [(0, 50), (1, 60), (2, 70)]
        assert others[0].get_ylabel() == "the paper's, %"
        assert labels == ["ours: held-out nDCG@10", "the paper: MTEB"]
    lines = {axes.lines[0].get_linestyle() for axes in drawn[0].axes}
    assert lines == {"-" if x else "None"}, "rows without a figure have no order to be joined in"


def test_curves_are_the_smoothed_losses_of_the_rows_that_have_some(drawn):
    losses = [(step, 9 - step / 20) for step in range(100)]
    found = report("better than", (50, 52), (60, None))
    ablation_plot(found, [("row0", losses), ("row1", []), ("_row2", losses[:50])], "plot")
    axes = drawn[0].axes[1]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["row0", " _row2"]
    for line, count in zip(axes.lines, (100, 50), strict=True):
        steps, values = line.get_data()
        assert (steps[0], steps[-1]) == (0, count - 1)
        np.testing.assert_allclose(values, 9 - steps / 20)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "training loss")


def test_a_plot_is_written_as_png_and_svg(tmp_path):
    paths = ablation_plot(report("better than", (50, 52), (60, 61)), [], str(tmp_path / "plot"))
    assert paths == [f"{tmp_path}/plot.png", f"{tmp_path}/plot.svg"]
    assert imread(paths[0]).shape[:2] == (660, 1050)
    assert "<svg" in Path(paths[1]).read_text()


def test_rows_of_several_series_are_told_apart_by_place_and_colour(drawn):
    found = report("better than", (50, 52), (60, 61), (55, 56))
    first, second, third = found.results
    results = (first, second, replace(third, name="row1, fine-tuning", x=second.x, series="fine-tuning"))
    ablation_plot(replace(found, results=results), [], "plot")
    axes = drawn[0].axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1"]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels[:2] == ["ours: held-out nDCG@10", "ours: held-out nDCG@10, fine-tuning"]
    one, other = (container.lines[0] for container in axes.containers)
    assert [tuple(p) for p in one.get_xydata()] == [(0, 51), (1, 60.5)]
    assert [tuple(p) for p in other.get_xydata()] == [(1, 55.5)]
    assert one.get_color() != other.get_color()


def test_on_the_papers_own_measure_each_cell_has_the_papers_beside_it():
    base = report("better than", (50.0, 52.0), (60.0, 61.0))
    metric = Metric("mteb-en", "mteb-en at 512 tokens", "mteb-en-512", "mteb-en-512/average", 512)
    parts = [{"Retrieval": 36.7, "STS": 73.2}, {"Retrieval": 44.6}]
    results = [
        replace(result, paper_parts=paper, by_part={"STS": 70.0, "Retrieval": 30.0, "Reranking": 50.0})
        for result, paper in zip(base.results, parts, strict=True)
    ]
    whole = replace(base, results=tuple(results), metric=metric)
    header, rows = whole.table()
    assert header == [
        *("size", "Retrieval", "the paper's", "STS", "the paper's"),
        *("ours, mteb-en at 512 tokens %", "the paper's, MTEB %"),
    ]
    assert rows[0] == ["row0", "30.0", "36.7", "70.0", "73.2", "51.0 ± 1.4", "50.0"]
    assert rows[1][3:5] == ["70.0", ""]
    text = markdown(whole)
    assert "Ours and the paper's: average over the tasks of MTEB" in text
    assert "| Reranking | 50.0 | 50.0 |" in text and "Each part:" in text
    assert table_csv(whole).startswith("row,x,seed,mteb-en-512_percent,")
    other = replace(whole, metric=Metric("/data/nq", "nq", "folder-nq", "folder-nq/average"))
    assert other.table()[0] == ["size", "ours, nq %", "the paper's, MTEB %"]
    assert "average over the tasks of nq" in markdown(other)


def test_other_metrics_have_tables_and_verdicts_of_their_own():
    base = report("better than", (50.0, 50.2), (60.0, 60.2))
    other = replace(
        base,
        metric=Metric("/data/nq", "nq", "folder-nq", "folder-nq/average"),
        results=tuple(
            replace(result, scores=scores, by_part={"nq": scores[0]})
            for result, scores in zip(base.results, ((30.0, 30.2), (20.0, 20.2)), strict=True)
        ),
    )
    whole = replace(base, others=(other,))
    text, page = markdown(whole), html(whole, "<svg></svg>")
    first, second = text.split("## By nq")
    assert first.startswith(markdown(base).strip()) and verdict(base) in first
    assert verdict(other) in second and "| row1 | 20.1 ± 0.1 |" in second and "| nq | 30.0 | 20.0 |" in second
    assert page.index(verdict(base)) < page.index("By nq") < page.index(verdict(other))
    header, *rows = list(csv.reader(table_csv(whole).splitlines()))
    assert header[3:] == ["ndcg_at_10_percent", "paper_mteb_percent", "folder-nq_percent"]
    assert [(row[0], row[2], row[3], row[5]) for row in rows] == [
        ("row0", "0", "50.0", "30.0"), ("row0", "1", "50.2", "30.2"),
        ("row1", "0", "60.0", "20.0"), ("row1", "1", "60.2", "20.2"),
    ]  # fmt: skip
