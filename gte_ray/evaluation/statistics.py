"""The main scores of tasks that are of all their pairs together, of resamples of these pairs.

Legend: r resamples, n pairs. A resample is how often it has each pair: `counts` (r, n), which add up to n.
"""

from collections.abc import Callable

import numpy as np

Statistic = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Of `counts` (r, n), what is true of each pair (n,) and its similarity (n,): (r,) scores."""


def spearman(counts: np.ndarray, gold: np.ndarray, similarities: np.ndarray) -> np.ndarray:
    """Return (r,) rank correlations, equal values with the mean of their ranks; 0 where one side is constant."""
    first, second = _ranks(counts, gold), _ranks(counts, similarities)
    total = counts.sum(1, keepdims=True)
    first -= (counts * first).sum(1, keepdims=True) / total
    second -= (counts * second).sum(1, keepdims=True) / total
    spread = np.sqrt((counts * first**2).sum(1) * (counts * second**2).sum(1))
    return np.divide((counts * first * second).sum(1), spread, out=np.zeros(len(counts)), where=spread > 0)


def average_precision(counts: np.ndarray, gold: np.ndarray, similarities: np.ndarray) -> np.ndarray:
    """Return (r,) areas under precision by recall, `gold` being 1 for a match; 0 where a resample has none."""
    order = np.argsort(-similarities, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(similarities[order])), len(order) - 1)
    counts = counts[:, order]
    found = np.cumsum(counts, axis=1)[:, ends]
    right = np.cumsum(counts * gold[order], axis=1)[:, ends]
    precision = right / np.maximum(found, 1)
    more = np.diff(right, axis=1, prepend=0)
    return (more * precision).sum(1) / np.maximum(right[:, -1], 1)


STATISTICS: dict[str, Statistic] = {"STS": spearman, "PairClassification": average_precision}
"""By mteb's type of task."""


def _ranks(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the (r, n) ranks of the values in each resample."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    starts = np.cumsum(sizes) - sizes
    together = np.add.reduceat(counts[:, order], starts, axis=1)
    return (np.cumsum(together, axis=1) - (together - 1) / 2)[:, group]
