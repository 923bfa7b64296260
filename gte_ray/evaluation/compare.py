"""Compares two models task by task by the paired bootstrap (Efron and Tibshirani 1993, chapter 16).

What is resampled are a task's examples: queries, texts that are classified, pairs, sets that are clustered.

Legend: n examples, r of B resamples.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple
from zlib import crc32

import numpy as np

from gte_ray.evaluation.scoreboard import AVERAGE, labels
from gte_ray.evaluation.statistics import STATISTICS, Statistic
from gte_ray.evaluation.task_results import TaskResult

RESAMPLES = 2_000
"""B."""
CELLS = 4_000_000
"""Random numbers in memory at a time."""
MOST_PAIRS = 10_000_000
"""Pairs that are ranked again for an interval: of tasks with many pairs there are fewer resamples, each used several times."""
LEVEL = 95
"""Percent of the resamples that an interval holds."""


@dataclass(frozen=True)
class Difference:
    """Two models on one task, or on the average over tasks; from 0 to 1."""

    task: str
    examples: int
    """Number of those that both were scored on."""
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
            "failed, or a score that is not made of examples"
        )

    def lines(self) -> tuple[list[str], list[list[str]]]:
        """Return the header and a line for each task."""
        head = ["task", "examples", self.first, self.second, "difference", f"{LEVEL} % interval"]
        return head, [
            [
                row.task,
                f"{row.examples:,}",
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
    """Return the ends of the interval of a task's main score; None if it has no scores by example."""
    return _ends(_resampled(result.task, _groups(result, None))) if _examples(result) else None


def differences(first: Sequence[TaskResult], second: Sequence[TaskResult], tasks: int) -> list[Difference]:
    """Return the differences on the tasks on which both models have scores for the same examples.

    If these are all `tasks`, and several, a last row is the average over them, each task's examples resampled by
    themselves.
    """
    by_task = {result.task: result for result in second}
    rows, resampled = [], []
    for one in first:
        other = by_task.get(one.task)
        if other is None or not _examples(one) or _examples(one) != _examples(other):
            continue
        resampled.append(_resampled(one.task, _groups(other, one)))
        examples = sum(map(len, _examples(one).values()))
        rows.append(
            Difference(one.task, examples, one.scores["main"], other.scores["main"], *_ends(resampled[-1]))
        )
    if len(rows) > 1 and len(rows) == tasks:
        first_mean, second_mean = fmean(row.first for row in rows), fmean(row.second for row in rows)
        total = sum(row.examples for row in rows)
        rows.append(Difference(AVERAGE, total, first_mean, second_mean, *_ends(np.mean(resampled, axis=0))))
    return rows


def _examples(result: TaskResult) -> dict[str, Collection[object]]:
    """Return what tells the examples of each subset: ids in any order, or what is true of each pair.

    Nothing where a subset has a single one, of which nothing can be told.
    """
    groups: dict[str, Collection[object]] = {name: scores.keys() for name, scores in result.queries.items()}
    groups |= {name: gold for name, (gold, _) in result.pairs.items()}
    return groups if all(len(examples) > 1 for examples in groups.values()) else {}


def _groups(result: TaskResult, base: TaskResult | None) -> list["_Group"]:
    """Return what is resampled of each subset: its score, less that of `base` if that is given."""
    groups = [
        _mean([score - (base.queries[name][query] if base else 0.0) for query, score in scores.items()])
        for name, scores in result.queries.items()
    ]
    for name, (gold, similarities) in result.pairs.items():
        others = base.pairs[name][1] if base else None
        groups.append(_of_pairs(STATISTICS[result.category], gold, similarities, others))
    return groups


class _Group(NamedTuple):
    """A subset of a task."""

    sizes: np.ndarray
    """(n,) how many examples each of its values stands for."""
    score: Callable[[np.ndarray], np.ndarray]
    """Its (r,) scores by `counts` (r, n), how often each value is drawn."""
    resamples: int = RESAMPLES


def _mean(values: Sequence[float]) -> _Group:
    found, sizes = np.unique(values, return_counts=True)
    return _Group(sizes, lambda counts: counts @ found / len(values))


def _of_pairs(
    statistic: Statistic, gold: Sequence[float], similarities: Sequence[float], others: Sequence[float] | None
) -> _Group:
    true, first = np.array(gold), np.array(similarities)
    second = None if others is None else np.array(others)

    def score(counts: np.ndarray) -> np.ndarray:
        found = statistic(counts, true, first)
        return found if second is None else found - statistic(counts, true, second)

    return _Group(np.ones(len(true)), score, max(200, MOST_PAIRS // len(true)))


def _resampled(task: str, groups: Sequence[_Group]) -> np.ndarray:
    """Return (B,) means of the groups' scores of as many examples drawn with replacement: other draws for each task."""
    draw = np.random.default_rng(crc32(task.encode()))
    means = np.zeros(RESAMPLES)
    for sizes, score, most in groups:
        total, count = int(sizes.sum()), min(most, RESAMPLES)
        rows = max(1, CELLS // len(sizes))
        scores = [
            score(draw.multinomial(total, sizes / total, min(rows, count - start)))
            for start in range(0, count, rows)
        ]
        means += np.resize(np.concatenate(scores), RESAMPLES) / len(groups)
    return means


def _ends(means: np.ndarray) -> tuple[float, float]:
    rest = (100 - LEVEL) / 2
    low, high = np.percentile(means, [rest, 100 - rest])
    return float(low), float(high)
