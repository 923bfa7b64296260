"""The texts of mteb's tasks as files, for stores that are to be without them."""

import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from mteb.abstasks.abstask import AbsTask

from gte_ray.data.ids import Report
from gte_ray.errors import RunError, UsageError
from gte_ray.evaluation.mteb.benchmarks import BENCHMARKS, mtebs_tasks
from gte_ray.evaluation.mteb.score import failure_sentence
from gte_ray.readers.values import reason_to_drop
from gte_ray.runtime import storage

NO_TEXTS = ("label_column_name", "relevancy_column_name")
"""What a task says of its columns that are no texts."""


def tasks_of(flag: str, name: str) -> tuple[AbsTask, ...]:
    """The tasks of one of our benchmarks or of mteb's, or mteb's task of that name. Raises UsageError if there is none."""
    if name in BENCHMARKS:
        return BENCHMARKS[name]().tasks
    try:
        return tuple(mtebs_tasks(name))
    except KeyError as error:
        raise UsageError(
            f"{flag} {name}: there is no such file or folder; allowed are also {', '.join(BENCHMARKS)} and the name of a "
            "benchmark or task of mteb"
        ) from error


def write_texts(tasks: Sequence[AbsTask], folder: str, report: Report) -> list[str]:
    """Writes the texts that the tasks are scored with into JSON Lines files in `folder`, with the columns text and title;
    the names of the files. Raises RunError, with the task's name, for data that cannot be had.

    A text that no pair may have is left out: it is in no store.
    """
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # each of its tries is told otherwise
    paths = []
    for task in tasks:
        name = task.metadata.name
        path = storage.join(folder, f"{name}.jsonl")
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            try:
                task.load_data()
                for count, row in enumerate(_rows(task), start=1):
                    file.write(json.dumps(row) + "\n")
                    if count % 10_000 == 0:
                        report(f"reading {name}", 10_000)
            except Exception as error:  # whatever a hub, a file or a task throws
                raise RunError(failure_sentence(name, task, error)) from error
            finally:
                if task.data_loaded:
                    task.unload_data()
            file.flush()
            storage.upload_file(file.name, path)
        paths.append(path)
    return paths


def _rows(task: AbsTask) -> Iterator[dict[str, str]]:
    for part in _parts(task):
        if "corpus" in part:  # retrieval and reranking
            for column in ("queries", "corpus"):
                for row in part[column]:
                    yield from _row(row["text"], row.get("title") or "")
        else:
            columns = [name for name in _text_columns(task) if name in part.column_names]
            for row in part.select_columns(columns):
                for text in _flat(list(row.values())):
                    yield from _row(text)


def _parts(task: Any) -> Iterator[Any]:
    """The data of each subset and split that the task is scored on."""
    for split in task.metadata.eval_splits:
        if split in task.dataset:
            yield task.dataset[split]
        else:
            yield from (subset[split] for subset in task.dataset.values() if split in subset)


def _text_columns(task: AbsTask) -> list[str]:
    """Those that the task's attributes name."""
    names: list[str] = []
    for attribute in dir(task):
        if attribute.endswith(("column_name", "column_names")) and attribute not in NO_TEXTS:
            value = getattr(task, attribute)
            names += [value] if isinstance(value, str) else list(value)
    return names


def _flat(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _flat(part)


def _row(text: str, title: str = "") -> Iterator[dict[str, str]]:
    kept = {
        name: part for name, part in (("text", text), ("title", title)) if part and not reason_to_drop(part)
    }
    if "text" in kept:
        yield kept
    elif "title" in kept:
        yield {"text": kept["title"]}
