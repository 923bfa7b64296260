"""A teacher's scores beside pairs and their hard negatives, on their way from files into a store.

Legend: n pairs, m hard negatives in all.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from gte_ray.data.hashing import pair_hashes
from gte_ray.data.negatives import flat, list_array
from gte_ray.readers.values import NEGATIVE_SCORES, PAIR_SCORE


def with_scores(table: pa.Table) -> pa.Table:
    """`table` with both columns of scores; NaN where it had none."""
    if PAIR_SCORE in table.column_names:
        return table
    negatives, offsets = flat(table.column("negatives").combine_chunks())
    unknown = list_array(offsets, pa.array(_unknown(len(negatives))))
    table = table.append_column(PAIR_SCORE, pa.array(_unknown(len(table))))
    return table.append_column(NEGATIVE_SCORES, unknown)


def alike(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """All with scores if one of them has some."""
    scored = any(PAIR_SCORE in table.column_names for table in tables)
    return [with_scores(table) for table in tables] if scored else list(tables)


def scores_of(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(n,) float32, NaN for null."""
    return column.to_numpy(zero_copy_only=False).astype(np.float32)


def score_hashes(scores: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """(n,) uint64, hashes of (n,) float32 `scores` with those of what is scored. All NaNs are the same."""
    bits = np.where(np.isnan(scores), np.float32(np.nan), scores).astype(np.float32).view(np.uint32)
    return pair_hashes(hashes, bits.astype(np.uint64), 0)


def _unknown(count: int) -> np.ndarray:
    return np.full(count, np.nan, np.float32)
