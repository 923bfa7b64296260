"""How much of what is held out was trained on all the same: held out are queries, and documents have several."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gte_ray.data.store import Store

CHUNK_ROWS = 2**20
"""Rows whose document hashes are in memory at one time."""


@dataclass(frozen=True)
class Seen:
    """Shares, from 0 to 1, of one source's held-out texts that are in training pairs too, letter by letter."""

    source: str
    documents: float
    """Of its different held-out documents."""
    pairs: float
    """Of its held-out pairs: those whose document is. Their queries never are in a training pair of the source."""


def seen(store: Store, scored: Sequence[str], trained: Sequence[str], limit: int) -> tuple[Seen, ...]:
    """What the training pairs of the sources `trained` have of the first `limit` held-out pairs of each of `scored`.

    Reads the document hashes of all training pairs once, and nothing else of them.
    """
    held_out = {name: store.read_held_out(name, limit)["document_hash"].to_numpy() for name in scored}
    wanted = np.unique(np.concatenate([np.empty(0, np.uint64), *held_out.values()]))
    found = np.zeros(len(wanted), bool)
    for name in trained if len(wanted) else ():
        rows = store.source(name).rows
        for start in range(0, rows, CHUNK_ROWS):
            read = store.read_rows(name, start, min(start + CHUNK_ROWS, rows), ["document_hash"])
            hashes = read["document_hash"].to_numpy()
            places = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
            found[places[wanted[places] == hashes]] = True
    shares = []
    for name, hashes in held_out.items():
        of_pairs = found[np.searchsorted(wanted, hashes)]
        of_documents = found[np.searchsorted(wanted, np.unique(hashes))]
        shares.append(Seen(name, _share(of_documents), _share(of_pairs)))
    return tuple(shares)


def _share(flags: np.ndarray) -> float:
    return float(flags.mean()) if len(flags) else 0.0
