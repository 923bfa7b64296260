"""Hard negatives: kept with their pairs in the store, chosen anew for each step, made up to full groups.

n pairs of a batch; k negatives that a pair needs (a group of k + 1 documents, section 3.4).
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gte_ray.data.hashing import pair_hashes


def list_array(offsets: np.ndarray, values: pa.Array) -> pa.ListArray:
    """Lists of `values` between (n + 1,) offsets."""
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def flat(lists: pa.ListArray) -> tuple[pa.Array, np.ndarray]:
    """The items of all lists one after another, and the (n + 1,) offsets of the lists among them."""
    offsets = lists.offsets.to_numpy()
    return lists.values.slice(offsets[0], offsets[-1] - offsets[0]), offsets - offsets[0]


def unite_negatives(
    hashes: np.ndarray, owners: np.ndarray, query_hashes: np.ndarray, document_hashes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which of c texts are whose negatives: (kept,) places among them, and (pairs + 1,) offsets of the pairs.

    In the order of the pairs, and for a pair in that of the hashes; each text once for a pair, and none that
    is the pair's own query or document. `hashes` (c,) are those of the texts, `owners` (c,) the numbers of
    their pairs, whose own texts have the (pairs,) hashes.
    """
    order = np.lexsort((hashes, owners))
    owners, hashes = owners[order], hashes[order]
    kept = np.ones(len(order), dtype=bool)
    kept[1:] = (owners[1:] != owners[:-1]) | (hashes[1:] != hashes[:-1])
    kept &= (hashes != query_hashes[owners]) & (hashes != document_hashes[owners])
    counts = np.bincount(owners[kept], minlength=len(query_hashes))
    return order[kept], np.concatenate(([0], np.cumsum(counts)))


@dataclass(frozen=True)
class Picks:
    """Items of lists that are chosen: item `positions[c]` of the list of pair `owners[c]`."""

    owners: np.ndarray
    """(c,) int64, ascending."""
    positions: np.ndarray
    """(c,) int64."""


def rotate(
    lengths: np.ndarray, epochs: np.ndarray, query_hashes: np.ndarray, document_hashes: np.ndarray,
    k: int, seed: int,
) -> Picks:  # fmt: skip
    """At most k of each pair's stored negatives: each epoch goes on in the list where the last one stopped.

    `lengths` (n,) are the numbers of stored negatives, `epochs` (n,) how often each pair was seen before.
    A pair's first place in its list is drawn by `seed`.
    """
    size = np.maximum(lengths, 1).astype(np.uint64)
    drawn = pair_hashes(query_hashes, document_hashes, seed) % size
    first = (drawn + epochs.astype(np.uint64) * np.uint64(k) % size) % size
    slots = np.arange(k)
    places = (first.astype(np.int64)[:, None] + slots) % size.astype(np.int64)[:, None]
    owners, columns = np.nonzero(slots < np.minimum(lengths, k)[:, None])
    return Picks(owners, places[owners, columns])


def fill(missing: np.ndarray, document_hashes: np.ndarray, pool_hashes: np.ndarray, k: int) -> Picks:
    """Random documents for pairs that have too few negatives: none that is the pair's own document.

    `missing` (n,) are the numbers wanted; pair i takes them from rows i (k + 1) to (i + 1)(k + 1) of the
    pool, (n (k + 1),) hashes of random documents of the source. Where these are nearly all the pair's own
    document, it gets fewer.
    """
    others = pool_hashes.reshape(len(missing), k + 1) != document_hashes[:, None]
    wanted = others & (np.cumsum(others, axis=1) <= missing[:, None])
    owners, columns = np.nonzero(wanted)
    return Picks(owners, owners * (k + 1) + columns)
