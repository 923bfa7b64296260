"""Ray Data as a pool: a function over many units of work, and its errors in one sentence."""

import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import ray.data
from ray import cloudpickle
from ray.util.annotations import RayDeprecationWarning

from gte_ray.errors import LOWER_IN_ACTORS, LOWER_IN_TASKS, RunError, explain
from gte_ray.runtime.cluster import keep_quiet, start_wanted
from gte_ray.runtime.imports import without_collector

LOST_TASK_RETRIES = 3
"""Times that a task is started again whose process or node was lost."""

GROUPS = 64
"""Tasks that small units are done in: enough for many CPUs, and few enough for their start not to count."""

Unit = TypeVar("Unit")
Result = TypeVar("Result")
Argument = TypeVar("Argument")


def run_tasks(units: Sequence[Unit], function: Callable[[Unit], Iterator[Result]]) -> Iterator[Result]:
    """Runs a generator of results over each unit in Ray Data tasks; the results as they come.

    Units and results are small objects that pickle can take. Whatever ends the work is raised as RunError: one of the function as it is, others as `explain` puts them. A
    task whose process is lost is tried again `LOST_TASK_RETRIES` times.
    """
    if not units:
        return
    call = partial(_call, function=function, remedy=LOWER_IN_TASKS)
    # Ray Data itself would start a task again for ever.
    with without_deprecations():
        dataset = as_dataset(units).flat_map(call, num_cpus=1, max_retries=LOST_TASK_RETRIES)
    yield from _results(dataset, LOWER_IN_TASKS)


def run_grouped(
    units: Sequence[Unit],
    weights: Sequence[int],
    largest: int,
    function: Callable[[Unit], Iterator[Result]],
) -> Iterator[Result]:
    """The same where units may be many and small: a task does several, of at most the weight `largest` in all."""
    yield from run_tasks(grouped_units(units, weights, largest), partial(_each, function=function))


def grouped_units(units: Sequence[Unit], weights: Sequence[int], largest: int) -> list[list[Unit]]:
    """Consecutive units, in `GROUPS` groups of about the same weight as long as none is heavier than `largest`."""
    weights = [max(weight, 1) for weight in weights]  # an empty unit is some work too
    most = min(largest, -(-sum(weights) // GROUPS))
    groups: list[list[Unit]] = []
    gathered = most
    for unit, weight in zip(units, weights, strict=True):
        if gathered + weight > most:
            groups.append([])
            gathered = 0
        groups[-1].append(unit)
        gathered += weight
    return groups


def _each(units: Sequence[Unit], function: Callable[[Unit], Iterator[Result]]) -> Iterator[Result]:
    for unit in units:
        yield from function(unit)


@dataclass(frozen=True)
class Pool:
    """Actors that compute with a model; nothing here changes what they compute, up to rounding."""

    workers: int = 1
    """Processes, one for each GPU."""
    gpu: bool = False
    """Whether each has a GPU; models then compute in fp16, as the paper evaluates (section 3.4)."""
    threads: int = 1
    """CPU threads of each."""

    @property
    def device(self) -> str:
        return "cuda" if self.gpu else "cpu"


def run_actors(
    units: Sequence[Unit],
    kind: Callable[[Argument], Callable[[Unit], Iterator[Result]]],
    argument: Argument,
    pool: Pool,
) -> Iterator[Result]:
    """The same by the actors of `pool`, each of which makes one `kind(argument)` and calls it with units.

    An actor that is lost ends the work: `kind` is to keep what it has done, so that the same call goes on.
    """
    if not units:
        return
    # With restarts, Ray's core complains on the console of how Ray Data makes actors.
    with without_deprecations():
        dataset = as_dataset(units).flat_map(
            _Actor,
            fn_constructor_args=(cloudpickle.dumps((kind, argument)),),
            compute=ray.data.ActorPoolStrategy(size=min(pool.workers, len(units))),
            num_cpus=pool.threads,
            num_gpus=1 if pool.gpu else 0,
            max_restarts=0,
        )
    yield from _results(dataset, LOWER_IN_ACTORS)


@contextmanager
def without_deprecations() -> Iterator[None]:
    """How often Ray Data starts a process again is a deprecated argument, and there is no other way to give it yet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RayDeprecationWarning)
        yield


class _Actor(Generic[Unit, Result]):
    """Makes its object with the first unit: what fails in a constructor, Ray reports in ways of its own."""

    def __init__(self, made_of: bytes):
        self.made_of = made_of
        self.function: Callable[[Unit], Iterator[Result]] | None = None

    def __call__(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        return _call(row, self._apply, LOWER_IN_ACTORS)

    def _apply(self, unit: Unit) -> Iterator[Result]:
        if self.function is None:
            with without_collector():
                kind, argument = cloudpickle.loads(self.made_of)
            self.function = kind(argument)
        return self.function(unit)


def as_dataset(units: Sequence[Unit]) -> ray.data.Dataset:
    """A row for each unit. In bytes: Arrow would make of a tuple or a number what its own columns hold."""
    start_wanted()
    keep_quiet()
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray.data.from_items(
        [{"unit": pickle.dumps(unit)} for unit in units], override_num_blocks=len(units)
    )


def _call(
    row: dict[str, Any], function: Callable[[Unit], Iterator[Result]], remedy: str
) -> Iterator[dict[str, Any]]:
    """The rows of a unit. A failure is a row too: Ray would print it, wrap it, and try the unit again."""
    try:
        for result in function(pickle.loads(row["unit"])):
            yield {"failed": False, "value": pickle.dumps(result)}
    except Exception as error:
        yield {"failed": True, "value": pickle.dumps(explain(error, remedy))}


def _results(dataset: ray.data.Dataset, remedy: str) -> Iterator[Any]:
    """The results of all units, up to the first failure, which is raised as RunError.

    `remedy` is what to lower where memory runs out.
    """
    try:
        for row in dataset.iter_rows():
            value = pickle.loads(row["value"])
            if row["failed"]:
                raise value
            yield value
    except RunError:
        raise
    except Exception as error:
        raise explain(error, remedy) from error
