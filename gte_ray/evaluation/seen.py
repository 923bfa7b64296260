"""Shares of held-out texts that were also trained on: a document can have several queries, some held out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gte_ray.data.store import Store

CHUNK_ROWS = 2**20
"""Rows whose document hashes are in memory at a time."""


@dataclass(frozen=True)
class Seen:
    """Shares, from 0 to 1, of one source's held-out texts that also occur verbatim in training pairs."""

    source: str
    documents: float
    """Share of its distinct held-out documents."""
    pairs: float
    """Share of its held-out pairs with such a document. The source trains on none of their queries."""


def seen(store: Store, scored: Sequence[str], trained: Sequence[str], limit: int) -> tuple[Seen, ...]:
    """Return shares of the first `limit` held-out pairs of each `scored` source in all `trained` sources.

    Reads the document hashes of all training pairs once, and nothing else of them.
    """
    held_out = {name: store.read_held_out(name, limit)["document_hash"].to_numpy() for name in scored}
    documents = np.unique(np.concatenate([np.empty(0, np.uint64), *held_out.values()]))
    trained_on = np.zeros(len(documents), bool)
    for name in trained if len(documents) else ():
        rows = store.source(name).rows
        for start in range(0, rows, CHUNK_ROWS):
            read = store.read_rows(name, start, min(start + CHUNK_ROWS, rows), ["document_hash"])
            hashes = read["document_hash"].to_numpy()
            indices = np.minimum(np.searchsorted(documents, hashes), len(documents) - 1)
            trained_on[indices[documents[indices] == hashes]] = True
    shares = []
    for name, hashes in held_out.items():
        seen_pairs = trained_on[np.searchsorted(documents, hashes)]
        seen_documents = trained_on[np.searchsorted(documents, np.unique(hashes))]
        shares.append(Seen(name, _share(seen_documents), _share(seen_pairs)))
    return tuple(shares)


def _share(flags: np.ndarray) -> float:
    return float(flags.mean()) if len(flags) else 0.0
