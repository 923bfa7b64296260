"""What scoring is told, what it tells, and how results are kept."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from gte_ray.data.hashing import digest
from gte_ray.pretrained.identity import identity
from gte_ray.pretrained.prompts import AS_THE_MODEL, GivenPrompts
from gte_ray.runtime import storage
from gte_ray.runtime.pool import Pool, run_actors

if TYPE_CHECKING:
    from gte_ray.model.load import TextModel


@dataclass(frozen=True)
class Scoring:
    """Where and how models are scored."""

    benchmark: str
    output: str
    """Where results are kept: a folder or URI."""
    pool: Pool
    micro_batch_tokens: int
    """Tokens of a forward pass."""
    max_length: int = 0
    """Tokens at which texts are cut; 0 for where each model's folder says."""
    dimensions: int = 0
    """First dimensions of each vector that are compared; 0 for all."""
    prompts: GivenPrompts = AS_THE_MODEL
    """Prompts in place of each model's own."""

    def load(self, model: str) -> "TextModel":
        """The model as it is to be scored."""
        from gte_ray.model.load import load_model  # takes seconds, which the driver does without

        where = (self.pool.device, self.pool.gpu)
        return load_model(model, *where, self.max_length, self.dimensions, self.prompts)


Pairs = dict[str, list[list[float]]]
"""What is true of each pair and its similarity, two lists, by subset."""


@dataclass(frozen=True)
class TaskResult:
    """One model on one task."""

    model: str
    task: str
    category: str
    """mteb's type of the task."""
    scores: dict[str, float]
    """`main` and further metrics, from 0 to 1 (correlations from -1), and SPREAD of a task whose texts are drawn several
    times; empty after an error."""
    error: str = ""
    queries: dict[str, dict[str, float]] = field(default_factory=dict)
    """`main` of each query by its id, by subset, or of each text or set of a task without queries; empty where `main` is
    of all pairs together, or is made otherwise."""
    pairs: Pairs = field(default_factory=dict)
    """What `main` is made of where it is of all pairs together."""


class Job(NamedTuple):
    """A model to be scored on a task."""

    model: str
    task: str
    file: str
    """Name of the file that holds the result, without folder and ending."""


class Unit(NamedTuple):
    """A job as an actor gets it."""

    model: str
    task: str
    path: str
    """Where the list of results is to be written."""


Argument = TypeVar("Argument")
SPREAD = "spread"
"""Name of the standard deviation of the main score over the draws of a task."""

SCORING_VERSION = 3
"""Of how models are scored: raised when the same model begins to get other scores."""
OnResult = Callable[[TaskResult, bool], None]
"""Called with each result, and whether it was there before."""


def cached_or_scored(
    jobs: Sequence[Job],
    kind: Callable[[Argument], Callable[[Unit], Iterator[TaskResult]]],
    argument: Argument,
    scoring: Scoring,
    on_result: OnResult,
) -> list[TaskResult]:
    """The results of jobs, from the file where an earlier call left it.

    The others are made by actors of `kind`, which keep a list of results in the file that a unit names. A file holds for all that is the same model by `identity`, wherever it is; fp16 and fp32
    are kept apart. Releases of torch and transformers are not: they change scores by rounding alone.
    """
    folders = {model: _folder(model, scoring) for model in {job.model: None for job in jobs}}
    results: list[TaskResult] = []
    units: dict[str, Unit] = {}
    same: dict[tuple[str, str], list[str]] = {}  # the models that a result is of
    for model, task, file in jobs:
        path = storage.join(folders[model], f"{file}.json")
        if path in units:
            same[units[path].model, task].append(model)
        elif storage.exists(path):
            for row in storage.read_json(path):
                results.append(replace(TaskResult(**row), model=model))
                on_result(results[-1], True)
        else:
            units[path] = Unit(model, task, path)
            same[model, task] = [model]
    for done in run_actors(list(units.values()), kind, argument, scoring.pool):
        for model in same[done.model, done.task]:
            results.append(replace(done, model=model))
            on_result(results[-1], False)
    return results


def _folder(model: str, scoring: Scoring) -> str:
    """Where the results of a model are kept."""
    precision = "fp16" if scoring.pool.gpu else "fp32"
    cut: list[object] = [scoring.max_length] if scoring.max_length else []
    cut += [f"{scoring.dimensions} dimensions"] if scoring.dimensions else []
    cut += [("prompts", scoring.prompts.query, scoring.prompts.document)] if scoring.prompts else []
    return storage.join(scoring.output, digest(SCORING_VERSION, identity(model), precision, *cut))
