"""The batch that the stream hands to the training step, and its form as an Arrow table."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

TEXTS = ("queries", "documents", "negatives", "guide_queries", "guide_documents", "guide_negatives")
NUMBERS = (
    "query_hashes",
    "document_hashes",
    "negative_hashes",
    "negative_owners",
    "document_scores",
    "negative_scores",
)
"""Array fields of a batch; the columns of the dataset have the same names."""
AS_NEGATIVE = np.uint64(0x5851F42D4C957F2D)
"""Keeps a hard negative from counting as the document of its pair in a digest."""


@dataclass(frozen=True)
class TokenLists:
    """Concatenated token ids of n texts, special tokens included."""

    values: np.ndarray
    """(T,) int32, token ids of all texts."""
    offsets: np.ndarray
    """(n + 1,) int64: text i is values[offsets[i]:offsets[i + 1]]."""
    skipped: np.ndarray | None = None
    """(n,) int64, the first tokens of each text that are not pooled, those of its prompt; None for none."""

    @property
    def lengths(self) -> np.ndarray:
        """(n,) int64, number of tokens in each text."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def cut(self, first: int, last: int) -> "TokenLists":
        """Texts first <= i < last, in the same memory."""
        offsets = self.offsets[first : last + 1]
        skipped = None if self.skipped is None else self.skipped[first:last]
        return TokenLists(self.values[offsets[0] : offsets[-1]], offsets - offsets[0], skipped)


def no_texts() -> TokenLists:
    return TokenLists(np.empty(0, np.int32), np.zeros(1, np.int64))


def no_scores() -> np.ndarray:
    return np.empty(0, np.float32)


@dataclass(frozen=True)
class PairBatch:
    """One rank's shard of one step: n pairs of one source, with m hard negatives."""

    step: int
    source: str
    queries: TokenLists
    documents: TokenLists
    query_hashes: np.ndarray
    """(n,) uint64, equal for equal texts."""
    document_hashes: np.ndarray
    """(n,) uint64, equal for equal texts."""
    negatives: TokenLists = field(default_factory=no_texts)
    negative_hashes: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    """(m,) uint64, equal for equal texts."""
    negative_owners: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """(m,) int64, ascending: index of the pair that each hard negative belongs to, 0 to n - 1."""
    document_scores: np.ndarray = field(default_factory=no_scores)
    """(n,) float32, a teacher's scores of the pairs, NaN where it has none; empty for a run without a teacher."""
    negative_scores: np.ndarray = field(default_factory=no_scores)
    """(m,) float32, the same of the hard negatives."""
    guide_queries: TokenLists = field(default_factory=no_texts)
    """As a guide reads them; empty without a guide, or where it reads the same tokens. So are the next."""
    guide_documents: TokenLists = field(default_factory=no_texts)
    guide_negatives: TokenLists = field(default_factory=no_texts)

    @property
    def for_guide(self) -> tuple[TokenLists, TokenLists, TokenLists]:
        """Queries, documents and hard negatives in the tokens that a guide reads."""
        if len(self.guide_queries):
            return self.guide_queries, self.guide_documents, self.guide_negatives
        return self.queries, self.documents, self.negatives

    def cut(self, first: int, last: int) -> "PairBatch":
        """Pairs first <= i < last with their negatives, in the same memory."""
        low, high = (int(place) for place in np.searchsorted(self.negative_owners, [first, last]))
        return PairBatch(
            self.step,
            self.source,
            self.queries.cut(first, last),
            self.documents.cut(first, last),
            self.query_hashes[first:last],
            self.document_hashes[first:last],
            self.negatives.cut(low, high),
            self.negative_hashes[low:high],
            self.negative_owners[low:high] - first,
            self.document_scores[first:last],
            self.negative_scores[low:high],
            _cut(self.guide_queries, first, last),
            _cut(self.guide_documents, first, last),
            _cut(self.guide_negatives, low, high),
        )

    def grouped_scores(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (n, g) float32 scores by pair, its own document's first, NaN where there are fewer than g documents.

        Also (m,) int64, the column of each hard negative's score.
        """
        counts = np.bincount(self.negative_owners, minlength=len(self.queries))
        starts = np.cumsum(counts) - counts
        places = np.arange(len(self.negatives)) - starts[self.negative_owners] + 1
        scores = np.full((len(self.queries), 1 + counts.max(initial=0)), np.nan, np.float32)
        scores[:, 0] = self.document_scores
        scores[self.negative_owners, places] = self.negative_scores
        return scores, places

    @property
    def digest(self) -> int:
        """Checksum of which texts are contrasted with which.

        The digests of a step's shards add up to the step's digest. It is below 2^53 for 2^18 texts, so it is
        exact in float64.
        """
        pairs = _mixed(self.query_hashes, self.document_hashes)
        queries = self.query_hashes[self.negative_owners]
        negatives = _mixed(queries ^ AS_NEGATIVE, self.negative_hashes ^ AS_NEGATIVE)
        return int(pairs.sum() + negatives.sum())


def _cut(texts: TokenLists, first: int, last: int) -> TokenLists:
    return texts.cut(first, last) if len(texts) else texts


def _mixed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Mixes pairs of hashes into (n,) uint64 below 2^35. The order within a pair matters."""
    mixed = (first * np.uint64(0x9E3779B97F4A7C15)) ^ second
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return mixed >> np.uint64(29)


def to_table(batches: Sequence[PairBatch]) -> pa.Table:
    """Returns the batches as a table with one row each."""
    columns: dict[str, Any] = {
        "step": pa.array([batch.step for batch in batches], pa.int64()),
        "source": pa.array([batch.source for batch in batches], pa.string()),
    }
    for name in TEXTS:
        texts: list[TokenLists] = [getattr(batch, name) for batch in batches]
        starts = np.cumsum([0] + [text.offsets[-1] for text in texts])
        inner = np.concatenate(
            [[0], *(text.offsets[1:] + start for text, start in zip(texts, starts, strict=False))]
        )
        values = np.concatenate([text.values for text in texts]).astype(np.int32, copy=False)
        lists = pa.LargeListArray.from_arrays(pa.array(inner, pa.int64()), pa.array(values, pa.int32()))
        columns[name] = pa.LargeListArray.from_arrays(_offsets([len(text) for text in texts]), lists)
        skipped = [np.zeros(len(text), np.int64) if text.skipped is None else text.skipped for text in texts]
        columns[f"{name}_skipped"] = pa.LargeListArray.from_arrays(
            _offsets([len(text) for text in texts]), pa.array(np.concatenate(skipped))
        )
    for name in NUMBERS:
        numbers = [getattr(batch, name) for batch in batches]
        columns[name] = pa.LargeListArray.from_arrays(
            _offsets([len(values) for values in numbers]), pa.array(np.concatenate(numbers))
        )
    return pa.table(columns)


def _offsets(lengths: list[int]) -> pa.Array:
    return pa.array(np.cumsum([0, *lengths]), pa.int64())


def from_table(row: pa.Table) -> PairBatch:
    """Returns the batch in a table of one row."""

    def tokens(name: str) -> TokenLists:
        lists = row.column(name).combine_chunks().flatten()
        offsets = lists.offsets.to_numpy()
        values = lists.values.to_numpy()[offsets[0] : offsets[-1]]
        skipped = row.column(f"{name}_skipped").combine_chunks().flatten().to_numpy()
        return TokenLists(values, offsets - offsets[0], skipped if skipped.any() else None)

    fields: dict[str, Any] = {name: tokens(name) for name in TEXTS}
    fields |= {name: row.column(name).combine_chunks().flatten().to_numpy() for name in NUMBERS}
    return PairBatch(row.column("step")[0].as_py(), row.column("source")[0].as_py(), **fields)
