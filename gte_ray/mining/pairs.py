"""Number the distinct texts of a source, to search each text once and map the results back to its pairs."""

from dataclasses import dataclass

import numpy as np

from gte_ray.data.hashing import number_texts
from gte_ray.data.store import SourceInfo, Store
from gte_ray.mining.choose import no_candidates
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
            width = len(task.documents.rows)
            keys = excluded[:, 0] * width + excluded[:, 1]  # ascending, as `excluded` is
            own[inside] = result["excluded"][np.searchsorted(keys, local * width + documents[inside])]
        return best, scores, own


def number_pairs(store: Store, source: SourceInfo, folder: str, k: int, rows: tuple[int, int]) -> Pairs:
    """The pairs of the rows start <= row < stop, and the search for k documents for each of their queries.

    What is found lies in `folder`.
    """
    first, stop = rows
    hashes = store.read_rows(source.name, first, stop, ["query_hash", "document_hash"])
    query_hashes, document_hashes = (column.to_numpy() for column in hashes.columns)
    query_rows, queries = number_texts(query_hashes)
    document_rows, documents = number_texts(document_hashes)
    _, *same = np.intersect1d(query_hashes[query_rows], document_hashes[document_rows], return_indices=True)
    task = Task(
        source.name,
        folder,
        Texts(first + query_rows),
        Texts(first + document_rows),
        no_candidates(queries, documents, np.stack(same, axis=1)),
        k,
    )
    return Pairs(source, first, task, queries, documents)
