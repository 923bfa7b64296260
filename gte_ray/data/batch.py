"""What travels from the stream to the training step."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TokenLists:
    """n texts as token ids, special tokens included, one after another."""

    values: np.ndarray
    """(T,) int32, the ids of all texts."""
    offsets: np.ndarray
    """(n + 1,) int64: text i is values[offsets[i]:offsets[i + 1]]."""

    @property
    def lengths(self) -> np.ndarray:
        """(n,) int64, tokens of each text."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True)
class PairBatch:
    """One rank's shard of one step: n pairs of one source."""

    step: int
    source: str
    queries: TokenLists
    documents: TokenLists
    query_hashes: np.ndarray
    """(n,) uint64, equal for equal texts."""
    document_hashes: np.ndarray
    """(n,) uint64, equal for equal texts."""
