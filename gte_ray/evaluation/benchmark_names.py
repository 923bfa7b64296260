"""What names a benchmark, and the benchmark of a name; without mteb until one is asked for that needs it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gte_ray.config.fields import HELD_OUT
from gte_ray.data.ids import Report
from gte_ray.errors import RunError
from gte_ray.runtime import storage
from gte_ray.runtime.imports import of_extra

if TYPE_CHECKING:
    from gte_ray.evaluation.mteb.benchmarks import Benchmark

MTEB = "mteb-en"
LATER = {
    "mteb-en-v2": "MTEB(eng, v2)",
    "mteb-multilingual": "MTEB(Multilingual, v2)",
    "mteb-code": "MTEB(Code, v1)",
    "longembed": "LongEmbed",
}
"""Benchmarks that came after the paper, and mteb's names of them; mteb pins the revisions of their data."""
BENCHMARK_WORDS = (HELD_OUT, MTEB, "beir", "codesearchnet", "sst2", *LATER)
"""Words that name a benchmark even if there is a folder of that name."""


def resolved(name: str) -> str:
    """`name`, or the absolute path of the folder that it is."""
    return storage.absolute_folder(name, *BENCHMARK_WORDS)


def load_benchmark(flag: str, name: str, check: bool = False) -> "Benchmark":
    """The benchmark of a resolved name, which is not HELD_OUT; `check` reads a folder's files.

    Raises UsageError if there is none, RunError if its files cannot be scored, or if mteb is not installed.
    """
    with of_extra("mteb", f"{flag} {name} needs the package mteb", RunError):
        from gte_ray.evaluation.mteb.benchmarks import benchmark
    return benchmark(name, check, flag)


@contextmanager
def as_files(flag: str, names: Sequence[str], folder: str, report: Report) -> Iterator[list[str]]:
    """What `names` of benchmarks stands for as paths of files: those of files and folders are paths already; the texts of
    others are written to `folder`, which is deleted at the end.

    Raises UsageError for a name of nothing, RunError for data that cannot be had, or if mteb is not installed.
    """
    named = [name for name in names if name in BENCHMARK_WORDS[1:] or not _is_path(name)]
    if not named:
        yield list(names)
        return
    with of_extra("mteb", f"{flag} {named[0]} needs the package mteb", RunError):
        from gte_ray.evaluation.mteb.texts import tasks_of, write_texts
    tasks = [task for name in named for task in tasks_of(flag, name)]
    try:
        yield [name for name in names if name not in named] + write_texts(tasks, folder, report)
    finally:
        storage.delete(folder)


def _is_path(name: str) -> bool:
    """Also of what is not there, if it cannot be the name of a task."""
    return any(mark in name for mark in "/.*") or storage.exists(storage.absolute(name))
