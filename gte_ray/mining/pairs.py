"""Number the distinct texts of pairs, to search each text once and map the results back to its pairs."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from gte_ray.data.hashing import number_texts
from gte_ray.data.ids import Report
from gte_ray.data.read import cached_store
from gte_ray.data.store import Store
from gte_ray.mining.choose import no_candidates
from gte_ray.mining.corpus import Corpus
from gte_ray.mining.task import Numbers, Task, write_numbers
from gte_ray.runtime import storage
from gte_ray.runtime.pool import run_grouped

TASK_ROWS = 2**20
"""Most pairs of small sources that are numbered by one task."""


class Wanted(NamedTuple):
    """Pairs whose queries are searched for: the rows first <= row < stop of a source."""

    name: str
    """Of the task."""
    source: str
    first: int
    stop: int
    folder: str
    """Of the task."""
    k: int
    """Documents of each query."""


def number_pairs(
    store: Store, wanted: Sequence[Wanted], corpus: Corpus | None, report: Report
) -> dict[str, Task]:
    """The tasks by name, in Ray tasks that leave their numbers in their folders. `corpus` is candidates too."""
    number = partial(_number, store=storage.absolute(store.uri), corpus=corpus)
    tasks = {}
    for name, task in run_grouped(wanted, [some.stop - some.first for some in wanted], TASK_ROWS, number):
        report(f"numbering {task.source}", task.rows)
        tasks[name] = replace(task, corpus=corpus)  # one for all of them
    return {some.name: tasks[some.name] for some in wanted}


def _number(wanted: Wanted, store: str, corpus: Corpus | None) -> Iterator[tuple[str, Task]]:
    columns = ["query_hash", "document_hash"]
    hashes = cached_store(store).read_rows(wanted.source, wanted.first, wanted.stop, columns)
    query_hashes, document_hashes = (column.to_numpy() for column in hashes.columns)
    numbers = numbers_of(query_hashes, document_hashes, wanted.first, corpus)
    write_numbers(wanted.folder, numbers)
    sizes = len(numbers.query_rows), len(numbers.document_rows)
    yield wanted.name, Task(wanted.source, wanted.folder, wanted.first, len(hashes), *sizes, wanted.k)


def numbers_of(
    query_hashes: np.ndarray, document_hashes: np.ndarray, first: int, corpus: Corpus | None
) -> Numbers:
    """The numbers of the texts of pairs by their (n,) hashes; `first` is the row of the first pair."""
    query_rows, queries = number_texts(query_hashes)
    document_rows, documents = number_texts(document_hashes)
    own = document_hashes[document_rows]
    passages = corpus.numbers(own) if corpus else np.full(len(own), -1)
    alone = passages < 0  # not in the corpus
    numbers = np.where(alone, (corpus.rows if corpus else 0) + np.cumsum(alone) - 1, passages)
    _, *same = np.intersect1d(query_hashes[query_rows], own, return_indices=True)
    same_text = [np.stack([same[0], numbers[same[1]]], axis=1)]
    if corpus:
        found = corpus.numbers(query_hashes[query_rows])
        same_text.append(np.stack([np.flatnonzero(found >= 0), found[found >= 0]], axis=1))
    excluded = no_candidates(queries, numbers[documents], np.concatenate(same_text))
    return Numbers(first + query_rows, first + document_rows[alone], queries, numbers[documents], excluded)
