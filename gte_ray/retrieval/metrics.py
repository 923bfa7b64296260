"""Retrieval metrics with binary relevance, computed from the ranks of the relevant documents alone.

Legend: Q queries, N documents, P relevant (query, document) pairs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

CUT = 10
"""The cutoff rank of nDCG@10, MRR@10 and recall@10."""
NOT_FOUND = np.iinfo(np.int64).max
"""Rank of a document that is not retrieved at all."""
TILE_CELLS = 4_000_000
"""Cells of the similarity matrix that are in memory at a time."""


@dataclass(frozen=True)
class Retrieval:
    """Metrics averaged over queries, each from 0 to 1."""

    ndcg_at_10: float
    mrr_at_10: float
    recall_at_1: float
    recall_at_10: float


def ranks(
    score: Callable[[int, int], np.ndarray],
    documents: int,
    pair_queries: np.ndarray,
    pair_documents: np.ndarray,
    above: float = -np.inf,
) -> np.ndarray:
    """(P,) int64, the rank, from 1, of each relevant document among all N documents for its query.

    `score(start, stop)` returns the (stop - start, N) similarities of these queries. The search is exact.
    Equal similarities rank in document order. A document whose similarity is not above `above` has the rank
    NOT_FOUND. `pair_queries` (P,) is ascending and contains every query.
    """
    pair_ranks = np.empty(len(pair_queries), np.int64)
    rows = max(1, TILE_CELLS // max(documents, 1))
    queries = int(pair_queries[-1]) + 1 if len(pair_queries) else 0
    for start in range(0, queries, rows):
        stop = min(start + rows, queries)
        tile = score(start, stop)
        first, last = np.searchsorted(pair_queries, [start, stop])
        for p in range(first, last, rows):  # a query with many relevant documents needs a row for each
            pairs = slice(p, min(p + rows, last))
            document = pair_documents[pairs, None]
            scores = tile[pair_queries[pairs] - start]
            own = np.take_along_axis(scores, document, axis=1)
            better = (scores > own).sum(axis=1)
            equal_before = ((scores == own) & (np.arange(documents) < document)).sum(axis=1)
            pair_ranks[pairs] = np.where(own[:, 0] > above, 1 + better + equal_before, NOT_FOUND)
    return pair_ranks


def retrieval(pair_ranks: np.ndarray, pair_queries: np.ndarray) -> Retrieval:
    """nDCG@10, MRR@10 and recall, averaged over queries.

    `pair_queries` (P,) are query numbers from 0 and contain every query. Recall is the share of a query's
    relevant documents that are found.
    """
    relevant = np.bincount(pair_queries)
    first = np.full(len(relevant), NOT_FOUND)
    np.minimum.at(first, pair_queries, pair_ranks)

    def share_of_relevant(within: np.ndarray) -> float:
        return float(np.mean(np.bincount(pair_queries, within) / relevant))

    return Retrieval(
        ndcg_at_10=float(np.mean(ndcg_at_10(pair_ranks, pair_queries))),
        mrr_at_10=float(np.mean(np.where(first <= CUT, 1 / first, 0.0))),
        recall_at_1=share_of_relevant(pair_ranks == 1),
        recall_at_10=share_of_relevant(pair_ranks <= CUT),
    )


def ndcg_at_10(pair_ranks: np.ndarray, pair_queries: np.ndarray) -> np.ndarray:
    """(Q,) nDCG@10 of each query: gain 1, discount log2(rank + 1), ideal with min(relevant, 10) hits."""
    discount = 1 / np.log2(np.arange(1, CUT + 1) + 1)
    gains = np.where(pair_ranks <= CUT, discount[np.minimum(pair_ranks, CUT) - 1], 0.0)
    ideal = np.cumsum(discount)[np.minimum(np.bincount(pair_queries), CUT) - 1]
    by_query: np.ndarray = np.bincount(pair_queries, gains) / ideal
    return by_query
