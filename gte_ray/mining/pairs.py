"""Number the distinct texts of a source, to search each text once and map the results back to its pairs."""

from dataclasses import dataclass

import numpy as np

from gte_ray.data.hashing import number_texts
from gte_ray.data.store import SourceInfo, Store
from gte_ray.mining.choose import Window, no_candidates
from gte_ray.mining.search import Task, Texts
from gte_ray.runtime import storage

SCRATCH = ".mining-"
"""Prefix of the folders of sources that are not done."""


@dataclass(frozen=True)
class Pairs:
    """The training pairs of a source by the numbers of their texts."""

    source: SourceInfo
    fingerprint: str
    """Fingerprint of the source and all settings."""
    task: Task
    queries: np.ndarray
    """(n,) int64, the number of each pair's query among the task's queries."""
    documents: np.ndarray
    """(n,) int64, the number of each pair's document among the task's documents."""


def number_pairs(store: Store, source: SourceInfo, uri: str, fingerprint: str, window: Window) -> Pairs:
    hashes = store.read_rows(source.name, 0, source.rows, ["query_hash", "document_hash"])
    query_hashes, document_hashes = (column.to_numpy() for column in hashes.columns)
    query_rows, queries = number_texts(query_hashes)
    document_rows, documents = number_texts(document_hashes)
    _, *same = np.intersect1d(query_hashes[query_rows], document_hashes[document_rows], return_indices=True)
    task = Task(
        source.name,
        storage.absolute(storage.join(uri, f"{SCRATCH}{source.name}-{fingerprint[:8]}")),
        Texts(query_rows),
        Texts(document_rows),
        no_candidates(queries, documents, np.stack(same, axis=1)),
        window.last_rank,
    )
    return Pairs(source, fingerprint, task, queries, documents)
