"""A teacher's scores beside pairs and their hard negatives, on their way from files into a store.

Legend: n pairs, m hard negatives in all.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from gte_ray.data.hashing import pair_hashes
from gte_ray.data.negatives import flat, list_array
from gte_ray.readers.values import NEGATIVE_SCORES, PAIR_SCORE


def add_scores(table: pa.Table) -> pa.Table:
    """`table` with both columns of scores behind the others; NaN where it had none."""
    if PAIR_SCORE not in table.column_names:
        negatives, offsets = flat(table.column("negatives").combine_chunks())
        table = table.append_column(PAIR_SCORE, pa.array(unknown(len(table))))
        table = table.append_column(NEGATIVE_SCORES, list_array(offsets, pa.array(unknown(len(negatives)))))
    others = [name for name in table.column_names if name not in (PAIR_SCORE, NEGATIVE_SCORES)]
    return table.select([*others, PAIR_SCORE, NEGATIVE_SCORES])


def drop_unknown(columns: dict[str, pa.Array]) -> None:
    """Takes both columns of scores out of `columns` if no score in them is known."""
    if PAIR_SCORE in columns:
        scores = (score_array(columns[PAIR_SCORE]), score_array(flat(columns[NEGATIVE_SCORES])[0]))
        if all(np.isnan(part).all() for part in scores):
            del columns[PAIR_SCORE], columns[NEGATIVE_SCORES]


def alike(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """All with scores if one of them has some."""
    scored = any(PAIR_SCORE in table.column_names for table in tables)
    return [add_scores(table) for table in tables] if scored else list(tables)


def score_array(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(n,) float32, NaN for null."""
    return column.to_numpy(zero_copy_only=False).astype(np.float32)


def score_hashes(scores: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Hashes of those of (n,) float32 `scores` that are known, with the (n,) hashes of what is scored."""
    known = ~np.isnan(scores)
    return pair_hashes(hashes[known], scores[known].view(np.uint32).astype(np.uint64), 0)


def unknown(count: int) -> np.ndarray:
    """(count,) float32 of scores that there are not."""
    return np.full(count, np.nan, np.float32)
