"""Which documents of a source are a pair's hard negatives: a pure function of what a retriever found.

n pairs, q different queries, m different documents, k candidates that were found for each query.
"""

from dataclasses import dataclass

import numpy as np

from gte_ray.data.hashing import pair_hashes
from gte_ray.errors import UsageError


@dataclass(frozen=True)
class Window:
    """Where negatives come from in the list of a query's documents, known positives left out."""

    first_rank: int = 10
    """Rank of the first candidate, from 1: those before it may be positives that nobody named."""
    last_rank: int = 100
    """Rank of the last candidate."""
    margin: float = float("-inf")
    """How much lower than the positive's a negative's score has to be, at least."""
    negatives: int = 15
    """Most negatives of a pair."""
    seed: int = 0
    """Seed of the choice among the candidates."""

    def __post_init__(self) -> None:
        if not 1 <= self.first_rank <= self.last_rank:
            raise UsageError(
                f"--first-rank is {self.first_rank} and --last-rank {self.last_rank}; allowed are ranks from 1, "
                "the first not after the last"
            )
        if self.negatives < 1:
            raise UsageError(f"--negatives is {self.negatives}; allowed is at least 1")
        if not 0 <= self.seed < 2**64:
            raise UsageError(f"--seed is {self.seed}; allowed is a whole number from 0 to 2^64 - 1")


def no_candidates(queries: np.ndarray, documents: np.ndarray, same_text: np.ndarray) -> np.ndarray:
    """(e, 2) int64 in ascending order: (query, document) of known positives and of equal texts.

    `queries` and `documents` (n,) are the numbers of each pair's texts, `same_text` (s, 2) the queries and
    documents that are the same text.
    """
    positives = np.stack([queries, documents], axis=1)
    return np.unique(np.concatenate([positives, same_text]).astype(np.int64), axis=0)


def choose(
    found: np.ndarray, scores: np.ndarray, positive_scores: np.ndarray,
    query_hashes: np.ndarray, document_hashes: np.ndarray, window: Window,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """(c,) pairs, ascending, and (c,) documents: at most `window.negatives` for a pair, drawn by its seed.

    `found` and `scores` (n, last_rank) are the best documents for each pair's query, -1 where there are no
    more; `positive_scores` (n,) those of the pairs themselves, whose texts have the (n,) hashes.
    """
    allowed = found >= 0
    if window.margin > -np.inf:
        allowed &= scores <= positive_scores[:, None] - window.margin
    allowed[:, : window.first_rank - 1] = False
    drawn = pair_hashes(query_hashes, document_hashes, window.seed)[:, None]
    keys = pair_hashes(drawn, found.astype(np.uint64), window.seed)
    order = np.lexsort((keys, ~allowed), axis=1)[:, : window.negatives]
    taken = np.take_along_axis(allowed, order, axis=1)
    pairs, _ = np.nonzero(taken)
    return pairs, np.take_along_axis(found, order, axis=1)[taken]
