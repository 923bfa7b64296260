"""Choose the hard negatives of each pair: a pure function of what a retriever found.

Legend: n pairs, q distinct queries, m distinct documents, k candidates found per query.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from gte_ray.data.hashing import pair_hashes
from gte_ray.errors import UsageError

Sampling = Literal["random", "top"]


@dataclass(frozen=True)
class Window:
    """Which of a query's ranked documents, known positives excluded, can become negatives."""

    first_rank: int = 10
    """Rank of the first candidate, from 1; documents before it may be unlabelled positives."""
    last_rank: int = 100
    """Rank of the last candidate."""
    margin: float = float("-inf")
    """Least distance of a negative's score below the positive's (TopK-MarginPos of NV-Retriever, 2407.15831)."""
    negatives: int = 15
    """Most negatives per pair."""
    seed: int = 0
    """Seed of the random choice among the candidates."""
    relative_margin: float = float("-inf")
    """The same as a share of the positive's score, whose sign does not matter (TopK-PercPos, with 0.05 for 95 %)."""
    sampling: Sampling = "random"
    """Whether negatives are drawn among the candidates, or are the best of them, as in NV-Retriever."""

    def __post_init__(self) -> None:
        if not 1 <= self.first_rank <= self.last_rank:
            raise UsageError(
                f"--first-rank is {self.first_rank} and --last-rank {self.last_rank}; allowed are ranks from 1, "
                "the first not after the last"
            )
        check_relative_margin(self.relative_margin)
        if self.negatives < 1:
            raise UsageError(f"--negatives is {self.negatives}; allowed is at least 1")
        if not 0 <= self.seed < 2**64:
            raise UsageError(f"--seed is {self.seed}; allowed is a whole number from 0 to 2^64 - 1")

    def identity(self) -> dict[str, Any]:
        """The fields, as plain values, without those that older versions did not have where these are off."""
        later = {"relative_margin": float("-inf"), "sampling": "random"}
        return {name: value for name, value in asdict(self).items() if later.get(name) != value}


def no_candidates(queries: np.ndarray, documents: np.ndarray, same_text: np.ndarray) -> np.ndarray:
    """Return (e, 2) int64, ascending: the (query, document) pairs that are known positives or equal texts.

    `queries` and `documents` (n,) are the numbers of each pair's texts; `same_text` (s, 2) are the queries
    and documents with the same text.
    """
    positives = np.stack([queries, documents], axis=1)
    return np.unique(np.concatenate([positives, same_text]).astype(np.int64), axis=0)


def check_relative_margin(share: float) -> None:
    """Raises UsageError for a margin that no negative has."""
    if not share < 1:
        raise UsageError(f"--relative-margin is {share:g}; allowed is a share below 1")


def below(
    scores: np.ndarray, positive_scores: np.ndarray, margin: float, relative_margin: float
) -> np.ndarray:
    """Return which scores are below the positives' by both margins, each of which is -inf for none."""
    result = np.ones(scores.shape, bool)
    if margin > -np.inf:
        result &= scores <= positive_scores - margin
    if relative_margin > -np.inf:
        result &= scores <= positive_scores - relative_margin * np.abs(positive_scores)
    return result


def choose(
    retrieved: np.ndarray, scores: np.ndarray, positive_scores: np.ndarray,
    query_hashes: np.ndarray, document_hashes: np.ndarray, window: Window, *,
    barred: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return (c,) pairs, ascending, and (c,) documents: at most `window.negatives` per pair.

    `retrieved` and `scores` (n, last_rank) are the best documents for each pair's query, -1 if there are no more,
    and their scores. `positive_scores` (n,) are the scores of the pairs themselves, and the hashes (n,) are
    those of their texts. `barred` (n, last_rank) are documents that may not be chosen.
    """
    allowed = retrieved >= 0
    if barred is not None:
        allowed &= ~barred
    allowed &= below(scores, positive_scores[:, None], window.margin, window.relative_margin)
    allowed[:, : window.first_rank - 1] = False
    if window.sampling == "top":
        keys = np.broadcast_to(np.arange(retrieved.shape[1]), retrieved.shape)
    else:
        drawn = pair_hashes(query_hashes, document_hashes, window.seed)[:, None]
        keys = pair_hashes(drawn, retrieved.astype(np.uint64), window.seed)
    order = np.lexsort((keys, ~allowed), axis=1)[:, : window.negatives]
    taken = np.take_along_axis(allowed, order, axis=1)
    pairs, _ = np.nonzero(taken)
    return pairs, np.take_along_axis(retrieved, order, axis=1)[taken]
