"""What names a benchmark, and the benchmark of a name; without mteb until one is asked for that needs it."""

from typing import TYPE_CHECKING

from gte_ray.errors import RunError
from gte_ray.runtime import storage

if TYPE_CHECKING:
    from gte_ray.evaluation.mteb.benchmarks import Benchmark

HELD_OUT = "heldout"
MTEB = "mteb-en"
BENCHMARK_WORDS = (HELD_OUT, MTEB, "beir", "codesearchnet", "sst2")
"""Words that name a benchmark even if there is a folder of that name."""


def resolved(name: str) -> str:
    """`name`, or the absolute path of the folder that it is."""
    return storage.absolute_folder(name, *BENCHMARK_WORDS)


def load_benchmark(flag: str, name: str, check: bool = False) -> "Benchmark":
    """The benchmark of a resolved name, which is not HELD_OUT; `check` reads a folder's files.

    Raises UsageError if there is none, RunError if its files cannot be scored, or if mteb is not installed.
    """
    try:
        from gte_ray.evaluation.mteb.benchmarks import benchmark
    except ImportError as error:
        raise RunError(
            f"{flag} {name} needs the package mteb ({error}): pip install 'gte_ray[mteb]'"
        ) from error
    return benchmark(name, check, flag)
