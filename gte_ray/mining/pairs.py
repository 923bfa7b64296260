"""Number the distinct texts of a source, to search each text once and map the results back to its pairs."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gte_ray.data.hashing import number_texts
from gte_ray.data.store import SourceInfo, Store
from gte_ray.mining.choose import no_candidates
from gte_ray.mining.corpus import Corpus
from gte_ray.mining.search import BLOCK_TEXTS, Task, Texts, read_arrays


@dataclass(frozen=True)
class Pairs:
    """Training pairs of a source by the numbers of their texts: n consecutive rows, of which `first` is the first."""

    source: SourceInfo
    first: int
    task: Task
    queries: np.ndarray
    """(n,) int64, the number of each pair's query among the task's queries."""
    documents: np.ndarray
    """(n,) int64, the number of each pair's document among the task's documents."""

    def found(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the search found for the rows start <= row < stop of the source, m of them.

        Returns (m, k) documents and (m, k) scores for their queries, and the (m,) scores of their own documents.
        """
        task, rows = self.task, slice(start - self.first, stop - self.first)
        queries, documents = self.queries[rows], self.documents[rows]
        best = np.empty((len(queries), task.k), np.int64)
        scores = np.empty((len(queries), task.k), np.float32)
        own = np.empty(len(queries), np.float32)
        block_of_row = queries // BLOCK_TEXTS
        for block in np.unique(block_of_row):
            inside, result = block_of_row == block, read_arrays(task.path("found", int(block)))
            local = queries[inside] - block * BLOCK_TEXTS
            best[inside], scores[inside] = result["documents"][local], result["scores"][local]
            excluded = task.excluded_of(int(block))
            keys = excluded[:, 0] * task.width + excluded[:, 1]  # ascending, as `excluded` is
            own[inside] = result["excluded"][np.searchsorted(keys, local * task.width + documents[inside])]
        return best, scores, own


class Wanted(NamedTuple):
    """What is searched for."""

    folder: str
    """Of what is found."""
    k: int
    """Documents of each query."""
    corpus: Corpus | None = None
    """Passages that are candidates besides the documents of the pairs."""


def number_pairs(store: Store, source: SourceInfo, rows: tuple[int, int], wanted: Wanted) -> Pairs:
    """The pairs of the rows start <= row < stop, and the search for documents for their queries."""
    (first, stop), corpus = rows, wanted.corpus
    hashes = store.read_rows(source.name, first, stop, ["query_hash", "document_hash"])
    query_hashes, document_hashes = (column.to_numpy() for column in hashes.columns)
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
    task = Task(
        source.name,
        wanted.folder,
        Texts(first + query_rows),
        Texts(first + document_rows[alone]),
        no_candidates(queries, numbers[documents], np.concatenate(same_text)),
        wanted.k,
        corpus.without_hashes() if corpus else None,
    )
    return Pairs(source, first, task, queries, numbers[documents])
