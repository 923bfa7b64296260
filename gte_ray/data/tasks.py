"""Ray Data as a pool: a function over many units of work, and its errors in one sentence."""

import errno
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray.data
from ray.util.annotations import RayDeprecationWarning

from gte_ray.errors import RunError


def run_tasks(units: list[Any], function: Callable[[Any], Iterator[dict]]) -> Iterator[dict]:
    """Runs a generator of JSON-able rows over each JSON-able unit in Ray Data tasks; the rows as they come.

    A RunError of the function is raised as it is, a full disk as RunError.
    """
    ray.data.DataContext.get_current().enable_progress_bars = False
    dataset = ray.data.from_items(
        [{"unit": json.dumps(unit)} for unit in units], override_num_blocks=len(units)
    )
    dataset = dataset.flat_map(partial(_call, function=function), num_cpus=1)
    yield from _results(dataset)


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


def run_actors(units: list[Any], kind: type, argument: Any, pool: Pool) -> Iterator[dict]:
    """The same by the actors of `pool`, each of which makes one `kind(argument)` and calls it with units.

    An actor that is lost ends the work: `kind` is to keep what it has done, so that the same call goes on.
    """
    if not units:
        return
    ray.data.DataContext.get_current().enable_progress_bars = False
    dataset = ray.data.from_items(
        [{"unit": json.dumps(unit)} for unit in units], override_num_blocks=len(units)
    )
    with warnings.catch_warnings():
        # `max_restarts` is deprecated as an argument here, and there is no other way to give it yet. With restarts,
        # Ray's core complains on the console of how Ray Data makes actors.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        dataset = dataset.flat_map(
            _Actor,
            fn_constructor_args=(kind, argument),
            compute=ray.data.ActorPoolStrategy(size=min(pool.workers, len(units))),
            num_cpus=pool.threads,
            num_gpus=1 if pool.gpu else 0,
            max_restarts=0,
        )
    yield from _results(dataset)


class _Actor:
    def __init__(self, kind: type, argument: Any):
        self.function = kind(argument)

    def __call__(self, row: dict) -> Iterator[dict]:
        return _call(row, self.function)


def _results(dataset: ray.data.Dataset) -> Iterator[dict]:
    try:
        for row in dataset.iter_rows():
            yield json.loads(row["result"])
    except Exception as error:
        raise _plain(error) from error


def _call(row: dict, function: Callable[..., Iterator[dict]]) -> Iterator[dict]:
    for result in function(json.loads(row["unit"])):
        yield {"result": json.dumps(result)}


def _plain(error: BaseException) -> Exception:
    """The sentence for a user, from whatever Ray wrapped it in."""
    cause: BaseException | None = error
    while cause is not None:
        inner = getattr(cause, "cause", None) or cause
        if isinstance(inner, RunError):
            # Ray Data appends an account of how often it tried.
            return RunError(str(inner).splitlines()[0])
        if isinstance(inner, OSError) and inner.errno == errno.ENOSPC:
            return RunError(f"no space is left on the device ({inner.filename or 'store'}); nothing was lost")
        cause = cause.__cause__
    return error if isinstance(error, Exception) else RuntimeError(str(error))
