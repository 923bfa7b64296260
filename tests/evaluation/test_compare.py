"""Two models on the same queries: the interval of their difference, against scipy's bootstrap and by its coverage."""

import numpy as np
import pytest
from scipy import stats

from gte_ray.evaluation.compare import compare, differences, interval
from gte_ray.evaluation.task_results import TaskResult


def result(model, task, *subsets):
    """A result with the main score of each query, in one or more subsets."""
    queries = {
        f"s{k}": {f"q{i}": float(score) for i, score in enumerate(scores)} for k, scores in enumerate(subsets)
    }
    mean = float(np.mean([np.mean(scores) for scores in subsets]))
    return TaskResult(model, task, "Retrieval", {"main": mean}, queries=queries)


def drawn(seed, n=300):
    random = np.random.default_rng(seed)
    first = random.beta(2, 2, n)
    return first, np.clip(first + random.normal(0.02, 0.1, n), 0, 1)


def test_the_interval_is_that_of_the_paired_bootstrap():
    one, two = drawn(0)
    (row,) = differences([result("a", "t", one)], [result("b", "t", two)], 1)
    assert (row.examples, row.first, row.second) == (
        300,
        pytest.approx(one.mean()),
        pytest.approx(two.mean()),
    )
    theirs = stats.bootstrap((two - one,), np.mean, method="percentile", n_resamples=20_000, rng=1)
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert row.low == pytest.approx(theirs.confidence_interval.low, abs=0.05 * width)
    assert row.high == pytest.approx(theirs.confidence_interval.high, abs=0.05 * width)
    # Of the same queries: far narrower than that of two samples.
    low, high = interval(result("a", "t", one))
    assert low < one.mean() < high and high - low > 1.5 * (row.high - row.low)


def test_nineteen_in_twenty_intervals_hold_the_truth():
    held = 0
    for seed in range(200):
        one, two = np.random.default_rng(seed).normal(0.5, 0.1, (2, 60))
        (row,) = differences([result("a", "t", one)], [result("b", "t", two)], 1)
        held += row.low <= 0 <= row.high
    assert 180 <= held <= 198


def test_subsets_count_alike_and_the_average_is_over_all_tasks():
    one, two = drawn(1), drawn(2, 40)
    first = [result("a", "t", one[0], two[0]), result("a", "u", two[0])]
    second = [result("b", "u", two[1]), result("b", "t", one[1], two[1])]
    t, u, average = differences(first, second, 2)
    assert t.second - t.first == pytest.approx(((one[1] - one[0]).mean() + (two[1] - two[0]).mean()) / 2)
    assert (average.task, average.examples) == ("average", 380)
    assert average.second == pytest.approx((t.second + u.second) / 2)
    assert average.high - average.low < u.high - u.low
    assert len(differences(first, second, 3)) == 2, "an average that lacks a task"


def test_what_cannot_be_compared_is_left_out_and_told():
    one, two = drawn(3, 20)
    results = [
        result("x/a", "t", one), result("y/a", "t", two), TaskResult("z/a", "t", "Retrieval", {"main": 0.5}),
        result("x/a", "u", one), result("y/a", "u", two[:19]), TaskResult("z/a", "u", "Retrieval", {}, "away"),
    ]  # fmt: skip
    with_second, with_third = compare("bench", results)
    assert [row.task for row in with_second.rows] == ["t"] and not with_third.rows
    assert with_second.title == "bench: y/a against x/a, %"
    assert with_second.note.startswith("y/a against x/a: 1 of 2 tasks are not compared")
    assert "2 of 2 tasks" in with_third.note
    head, (line,) = with_second.lines()
    assert head == ["task", "examples", "x/a", "y/a", "difference", "95 % interval"]
    row = with_second.rows[0]
    assert line == [
        "t", "20", f"{100 * one.mean():.1f}", f"{100 * two.mean():.1f}", f"{100 * (two - one).mean():+.1f}",
        f"{100 * row.low:+.1f} to {100 * row.high:+.1f}",
    ]  # fmt: skip
    assert compare("bench", results[:1]) == []


def test_tasks_of_as_many_queries_are_resampled_each_by_itself():
    """The average of equal tasks has the interval of one over the root of their number, about."""
    one, two = drawn(5, 60)
    tasks = [f"t{number}" for number in range(25)]
    first, second = (
        [result(name, task, scores) for task in tasks] for name, scores in (("a", one), ("b", two))
    )
    *rows, average = differences(first, second, 25)
    width = np.mean([row.high - row.low for row in rows])
    assert average.high - average.low == pytest.approx(width / 5, rel=0.15)
