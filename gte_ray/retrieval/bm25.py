"""BM25 on the same queries and candidates as the model: the baseline that an embedding has to beat.

Uses the bm25s library with Lucene's formula. Words are runs of two or more letters, digits or underscores, in
lower case, without English stop words. There is no stemming.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import bm25s
import numpy as np

BM25 = "bm25"
"""The name of BM25 in place of a model's name."""
BM25_QUERIES = 64
"""Queries scored against all documents at a time."""
K1 = 1.5
"""How fast further occurrences of a word stop counting; the library's default."""
B = 0.75
"""How strongly long documents are penalised; the library's default, and Lucene's."""


class Bm25:
    """A BM25 index of documents."""

    def __init__(self, documents: Sequence[str]):
        self.documents = len(documents)
        corpus = bm25s.tokenize(list(documents), stopwords="english", show_progress=False)
        self.index = _Index(k1=K1, b=B, method="lucene", backend="numpy", auto_compile=False)
        self.has_words = bool(corpus.vocab)  # the library cannot index documents without words
        if self.has_words:
            self.index.index(corpus, show_progress=False)

    def scores(self, queries: Sequence[str]) -> np.ndarray:
        """(queries, documents) float32 scores; 0 for a document that shares no word with the query."""
        if not self.has_words:
            return np.zeros((len(queries), self.documents), np.float32)
        ids = [self.index.get_tokens_ids(words) for words in _words(queries)]
        return np.stack([self.index.get_scores_from_ids(tokens) for tokens in ids])


class _Index(bm25s.BM25):
    """The library's index with Lucene's formula, counted over all documents at once instead of one after another."""

    def build_index_from_ids(
        self, unique_token_ids: list[int], corpus_token_ids: list[list[int]], **_: bool
    ) -> dict[str, Any]:
        """Scores of each word in each document that has it, as columns of a sparse matrix: a word's documents."""
        self.nonoccurrence_array = None  # Lucene's formula has none
        lengths = np.fromiter(map(len, corpus_token_ids), np.int64)
        words = np.fromiter(chain.from_iterable(corpus_token_ids), np.int64, lengths.sum())
        documents = len(lengths)
        places = words * documents + np.repeat(np.arange(documents), lengths)
        places.sort()
        first = np.flatnonzero(np.diff(places, prepend=-1))
        frequencies = np.diff(first, append=len(places)).astype(np.float32)
        words, rows = np.divmod(places[first], documents)
        having = np.bincount(words, minlength=len(unique_token_ids))
        rarity = np.log(1 + (documents - having + 0.5) / (having + 0.5)).astype(np.float32)
        saturation = frequencies / (
            self.k1 * (1 - self.b + self.b * lengths[rows] / lengths.mean()) + frequencies
        )
        return {
            "data": (rarity[words] * saturation).astype(np.float32),
            "indices": rows.astype(np.int32),
            "indptr": np.concatenate(([0], np.cumsum(having))),
            "num_docs": documents,
        }


def _words(texts: Sequence[str]) -> list[list[str]]:
    return bm25s.tokenize(list(texts), stopwords="english", return_ids=False, show_progress=False)
