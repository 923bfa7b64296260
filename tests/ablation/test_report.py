"""Tables and verdicts from given numbers."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from gte_ray.ablation.figure import ablation_plot
from gte_ray.ablation.report import Report, Result, markdown, table_csv, verdict
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
            by_source={"docs": 10.0 * i},
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


@pytest.mark.parametrize("x", [True, False])
@pytest.mark.parametrize("paper", [(50.0, 60.0, 70.0), (None, 59.0, None), (None, None, None)])
def test_plots_of_all_kinds_are_drawn(tmp_path, paper, x):
    curves = [("row0", [(step, 9 - step / 20) for step in range(100)]), ("row1", [])]
    found = report("better than", (50, 52), (60, None), (None, None), paper=paper, x=x)
    for drawn in ([], curves):
        png, svg = ablation_plot(found, drawn, str(tmp_path / "plot"))
        assert Path(png).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert "<svg" in Path(svg).read_text()


def test_rows_of_several_series_are_told_apart_by_place_and_colour(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr("gte_ray.ablation.figure.save", lambda figure, path: drawn.append(figure) or [])
    found = report("better than", (50, 52), (60, 61), (55, 56))
    first, second, third = found.results
    results = (first, second, replace(third, name="row1, fine-tuning", x=second.x, series="fine-tuning"))
    ablation_plot(replace(found, results=results), [], str(tmp_path / "plot"))
    axes = drawn[0].axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1"]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels[:2] == ["ours: held-out nDCG@10", "ours: held-out nDCG@10, fine-tuning"]
