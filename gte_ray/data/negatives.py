"""Hard negatives: stored with their pairs, chosen anew for each step, filled up to full groups.

Legend: n pairs of a batch, k negatives that a pair needs (a group has k + 1 documents, section 3.4).
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gte_ray.data.hashing import pair_hashes


def list_array(offsets: np.ndarray, values: pa.Array) -> pa.ListArray:
    """Array of n lists: `values` split at the (n + 1,) `offsets`."""
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def flat(lists: pa.ListArray) -> tuple[pa.Array, np.ndarray]:
    """Concatenates n lists. Returns their items and the (n + 1,) offsets of the lists."""
    offsets = lists.offsets.to_numpy()
    return lists.values.slice(offsets[0], offsets[-1] - offsets[0]), offsets - offsets[0]


def unite_negatives(
    hashes: np.ndarray, owners: np.ndarray, query_hashes: np.ndarray, document_hashes: np.ndarray,
    scores: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Assigns c candidate texts to their pairs as negatives.

    `hashes` (c,) are the hashes of the candidates, `owners` (c,) the indices of their pairs. `query_hashes`
    and `document_hashes` (pairs,) are the hashes of the pairs' own texts. A pair keeps each text once, that with
    the highest of the (c,) `scores`, and never its own query or document. Returns the (kept,) indices of the kept
    candidates, ordered by pair and then by hash, and the (pairs + 1,) offsets of the pairs among them.
    """
    keys = (hashes, owners) if scores is None else (-scores, hashes, owners)  # NaN comes last
    order = np.lexsort(keys)
    owners, hashes = owners[order], hashes[order]
    kept = np.ones(len(order), dtype=bool)
    kept[1:] = (owners[1:] != owners[:-1]) | (hashes[1:] != hashes[:-1])
    kept &= (hashes != query_hashes[owners]) & (hashes != document_hashes[owners])
    counts = np.bincount(owners[kept], minlength=len(query_hashes))
    return order[kept], np.concatenate(([0], np.cumsum(counts)))


@dataclass(frozen=True)
class Picks:
    """A choice of c texts: text i goes to pair `owners[i]`.

    `positions[i]` is its position in that pair's list (`rotate`) or in the pool (`fill`).
    """

    owners: np.ndarray
    """(c,) int64, ascending."""
    positions: np.ndarray
    """(c,) int64."""


def rotate(
    lengths: np.ndarray, epochs: np.ndarray, query_hashes: np.ndarray, document_hashes: np.ndarray,
    k: int, seed: int,
) -> Picks:  # fmt: skip
    """Chooses at most k of each pair's stored negatives.

    Each epoch continues in the list where the last one stopped; `seed` draws where the first one starts.
    `lengths` (n,) are the numbers of stored negatives, `epochs` (n,) how often each pair was seen before.
    """
    size = np.maximum(lengths, 1).astype(np.uint64)
    drawn = pair_hashes(query_hashes, document_hashes, seed) % size
    first = (drawn + epochs.astype(np.uint64) * np.uint64(k) % size) % size
    slots = np.arange(k)
    positions = (first.astype(np.int64)[:, None] + slots) % size.astype(np.int64)[:, None]
    owners, columns = np.nonzero(slots < np.minimum(lengths, k)[:, None])
    return Picks(owners, positions[owners, columns])


def fill(missing: np.ndarray, document_hashes: np.ndarray, pool_hashes: np.ndarray, k: int) -> Picks:
    """Chooses random documents for pairs with too few negatives, never a pair's own document.

    `missing` (n,) are the numbers of documents needed. `pool_hashes` (n (k + 1),) are the hashes of random
    documents of the source; pair i takes its documents from rows i (k + 1) to (i + 1)(k + 1). It gets fewer
    if nearly all of these are its own document.
    """
    others = pool_hashes.reshape(len(missing), k + 1) != document_hashes[:, None]
    chosen = others & (np.cumsum(others, axis=1) <= missing[:, None])
    owners, columns = np.nonzero(chosen)
    return Picks(owners, owners * (k + 1) + columns)
