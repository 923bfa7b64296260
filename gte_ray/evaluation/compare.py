"""Compares two models task by task by the paired bootstrap over queries (Efron and Tibshirani 1993, chapter 16).

Legend: n queries, B resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from zlib import crc32

import numpy as np

from gte_ray.evaluation.scoreboard import AVERAGE, labels
from gte_ray.evaluation.task_results import TaskResult

RESAMPLES = 2_000
"""B."""
CELLS = 4_000_000
"""Random numbers in memory at a time."""
LEVEL = 95
"""Percent of the resamples that an interval holds."""


@dataclass(frozen=True)
class Difference:
    """Two models on one task, or on the average over tasks; from 0 to 1."""

    task: str
    queries: int
    """Number of queries that both were scored on."""
    first: float
    second: float
    low: float
    """Lower end of the interval of `second - first`."""
    high: float


@dataclass(frozen=True)
class Comparison:
    """One of our models against another, task by task."""

    name: str
    first: str
    """Label of the model that the other is compared with."""
    second: str
    rows: tuple[Difference, ...]
    tasks: int
    """Number of tasks of the benchmark, compared or not."""

    @property
    def title(self) -> str:
        return f"{self.name}: {self.second} against {self.first}, %"

    @property
    def note(self) -> str:
        """What is not compared, or an empty text."""
        compared = sum(row.task != AVERAGE for row in self.rows)
        if compared == self.tasks:
            return ""
        return (
            f"{self.second} against {self.first}: {self.tasks - compared} of {self.tasks} tasks are not compared, having "
            "failed, no scores by query, or results of an earlier release"
        )

    def lines(self) -> tuple[list[str], list[list[str]]]:
        """Return the header and a line for each task."""
        head = ["task", "queries", self.first, self.second, "difference", f"{LEVEL} % interval"]
        return head, [
            [
                row.task,
                f"{row.queries:,}",
                f"{100 * row.first:.1f}",
                f"{100 * row.second:.1f}",
                f"{100 * (row.second - row.first):+.1f}",
                f"{100 * row.low:+.1f} to {100 * row.high:+.1f}",
            ]
            for row in self.rows
        ]


def compare(name: str, results: Sequence[TaskResult]) -> list[Comparison]:
    """Return a comparison with the first model for each other one, by the main scores of a benchmark called `name`."""
    models = labels(list(dict.fromkeys(result.model for result in results)))
    of = {model: [result for result in results if result.model == model] for model in models}
    tasks = len({result.task for result in results})
    first, *others = models or [""]
    return [
        Comparison(name, models[first], models[other], tuple(differences(of[first], of[other], tasks)), tasks)
        for other in others
    ]


def interval(result: TaskResult) -> tuple[float, float] | None:
    """Return the ends of the interval of a task's main score; None if it has no scores by query."""
    return _ends(_resampled(result.task, _groups(result, result))) if result.queries else None


def differences(first: Sequence[TaskResult], second: Sequence[TaskResult], tasks: int) -> list[Difference]:
    """Return the differences on the tasks on which both models have scores for the same queries.

    If these are all `tasks`, and several, a last row is the average over them, each task's queries resampled by
    themselves.
    """
    by_task = {result.task: result for result in second}
    rows, resampled = [], []
    for one in first:
        other = by_task.get(one.task)
        if other is None or not _same_queries(one, other):
            continue
        resampled.append(_resampled(one.task, _groups(one, other)))
        queries = sum(map(len, one.queries.values()))
        rows.append(
            Difference(one.task, queries, one.scores["main"], other.scores["main"], *_ends(resampled[-1]))
        )
    if len(rows) > 1 and len(rows) == tasks:
        first_mean, second_mean = fmean(row.first for row in rows), fmean(row.second for row in rows)
        total = sum(row.queries for row in rows)
        rows.append(Difference(AVERAGE, total, first_mean, second_mean, *_ends(np.mean(resampled, axis=0))))
    return rows


def _same_queries(one: TaskResult, other: TaskResult) -> bool:
    found = [{name: scores.keys() for name, scores in result.queries.items()} for result in (one, other)]
    return bool(found[0]) and found[0] == found[1]


def _groups(one: TaskResult, other: TaskResult) -> list[np.ndarray]:
    """Return (n,) differences of each subset's queries; the scores themselves if both are the same result."""
    same = one is other
    return [
        np.array([other.queries[name][query] - (0.0 if same else score) for query, score in scores.items()])
        for name, scores in one.queries.items()
    ]


def _resampled(task: str, groups: Sequence[np.ndarray]) -> np.ndarray:
    """Return (B,) means of the groups' means, each of n values drawn with replacement: other draws for each task."""
    draw = np.random.default_rng(crc32(task.encode()))
    means = np.zeros(RESAMPLES)
    for values in groups:
        rows = max(1, CELLS // len(values))
        for start in range(0, RESAMPLES, rows):
            count = min(rows, RESAMPLES - start)
            chosen = draw.integers(0, len(values), (count, len(values)))
            means[start : start + count] += values[chosen].mean(1) / len(groups)
    return means


def _ends(means: np.ndarray) -> tuple[float, float]:
    rest = (100 - LEVEL) / 2
    low, high = np.percentile(means, [rest, 100 - rest])
    return float(low), float(high)
