"""Benchmarks as lists of tasks: mteb's own, and the paper's where mteb has none or a different one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import mteb
from mteb.abstasks.abstask import AbsTask

from gte_ray.errors import UsageError
from gte_ray.evaluation.benchmark_names import LATER
from gte_ray.evaluation.mteb.beir_folder import FolderRetrieval, is_folder
from gte_ray.evaluation.mteb.codesearch import CODE_SETTINGS, CodeSearch
from gte_ray.evaluation.mteb.paper import BEIR, BEIR_TASKS, CODESEARCHNET, LANGUAGES, MTEB, SST2, PaperRow
from gte_ray.evaluation.mteb.sentiment import SST2_LABELS, SentimentByLabels


@dataclass(frozen=True)
class Benchmark:
    """A named list of tasks, and the paper's scores on them."""

    name: str
    tasks: tuple[AbsTask, ...]
    metrics: tuple[str, ...] = ()
    """Metrics in addition to each task's main score, by mteb's names."""
    paper: tuple[PaperRow, ...] = ()
    by_category: bool = False
    """Whether the table has a column per mteb category instead of a row per task."""
    notes: tuple[str, ...] = ()
    """What a user should know about the data before scoring."""


def benchmark(name: str, check: bool = False, flag: str = "--benchmark") -> Benchmark:
    """Return the benchmark of that name, of ours or of mteb's, mteb's task of that name, or that of a folder in BEIR's
    layout.

    `check` reads a folder's files, and raises RunError with a one-sentence message if they cannot be scored.
    Raises UsageError if there is nothing of the name, or tasks on other things than texts.
    """
    if name in BENCHMARKS:
        return BENCHMARKS[name]()
    folder = Path(name)
    if is_folder(folder):
        task = FolderRetrieval(folder)
        return Benchmark(folder.name, (task,), ("recall_at_100",), notes=task.check() if check else ())
    try:
        tasks = mtebs_tasks(name)
    except KeyError as error:
        raise UsageError(
            f"{flag} is {name!r}; allowed are heldout, {', '.join(BENCHMARKS)}, a benchmark or task of mteb by its name, or "
            "a folder with corpus.jsonl, queries.jsonl and qrels/test.tsv"
        ) from error
    others = [task.metadata.name for task in tasks if set(task.metadata.modalities) != {"text"}]
    if others:
        raise UsageError(
            f"{flag} is {name!r}, whose task {others[0]} is not on texts alone, as are those allowed"
        )
    return _of_mteb(name, tasks)


def mtebs_tasks(name: str) -> Sequence[AbsTask]:
    """The tasks of mteb's benchmark of that name, or its task. Raises KeyError if there is neither."""
    try:
        return mteb.get_benchmark(name).tasks
    except KeyError:
        return (mteb.get_task(name),)


def _of_mteb(name: str, tasks: Sequence[AbsTask]) -> Benchmark:
    kinds = {task.metadata.type for task in tasks}
    return Benchmark(name, tuple(tasks), by_category=len(kinds) > 1)


def _mteb() -> Benchmark:
    tasks = tuple(mteb.get_benchmark("MTEB(eng, v1)").tasks)
    return Benchmark("mteb-en", tasks, paper=MTEB, by_category=True)


def _later(name: str, mtebs: str) -> Benchmark:
    return _of_mteb(name, mteb.get_benchmark(mtebs).tasks)


def _beir() -> Benchmark:
    tasks = {task.metadata.name: task for task in mteb.get_benchmark("BEIR").tasks}
    return Benchmark("beir", tuple(tasks[name] for name in BEIR_TASKS), ("recall_at_100",), BEIR)


def _codesearchnet() -> Benchmark:
    tasks = tuple(CodeSearch(language, setting) for setting in CODE_SETTINGS for language in LANGUAGES)
    return Benchmark("codesearchnet", tasks, paper=CODESEARCHNET)


def _sst2() -> Benchmark:
    return Benchmark("sst2", tuple(SentimentByLabels(kind) for kind in SST2_LABELS), paper=SST2)


BENCHMARKS: dict[str, Callable[[], Benchmark]] = {
    "mteb-en": _mteb,
    "beir": _beir,
    "codesearchnet": _codesearchnet,
    "sst2": _sst2,
    **{name: partial(_later, name, mtebs) for name, mtebs in LATER.items()},
}
