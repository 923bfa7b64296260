"""What scoring is told, what it tells, and how results are kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gte_ray import storage, weights
from gte_ray.data.sort import digest
from gte_ray.data.tasks import Pool, run_actors


@dataclass(frozen=True)
class Scoring:
    """Where and how models are scored."""

    benchmark: str
    output: str
    """Where results are kept: a folder or URI."""
    pool: Pool
    micro_batch_tokens: int
    """Tokens of a forward pass."""


@dataclass(frozen=True)
class Result:
    """One model on one task."""

    model: str
    task: str
    category: str
    """mteb's type of the task."""
    scores: dict[str, float]
    """`main` and further metrics, from 0 to 1 (correlations from -1); empty after an error."""
    error: str = ""


OnResult = Callable[[Result, bool], None]
"""Called with each result, and whether it was there before."""


def kept_or_made(
    jobs: Sequence[tuple[str, str, str]], kind: type, argument: Any, scoring: Scoring, on_result: OnResult
) -> list[Result]:
    """The results of jobs (model, task, name of the file), from the file where an earlier call left it.

    The others are made by actors of `kind`, which keep a list of results in the file that a unit [model, task,
    path] names. Files are kept by weights, so that they hold for a model wherever it is.
    """
    results, units = [], []
    for model, task, name in jobs:
        path = storage.join(scoring.output, digest(weights.identity(model)), f"{name}.json")
        if storage.exists(path):
            for row in storage.read_json(path):
                results.append(Result(**{**row, "model": model}))
                on_result(results[-1], True)
        else:
            units.append([model, task, path])
    for done in run_actors(units, kind, argument, scoring.pool):
        results.append(Result(**done))
        on_result(results[-1], False)
    return results
