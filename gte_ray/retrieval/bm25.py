"""BM25 on the same queries and candidates as the model: the baseline that an embedding has to beat.

Uses the bm25s library with Lucene's formula. Words are runs of two or more letters, digits or underscores, in
lower case, without English stop words. There is no stemming.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import bm25s
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from bm25s.stopwords import STOPWORDS_EN

BM25 = "bm25"
"""The name of BM25 in place of a model's name."""
BM25_QUERIES = 64
"""Queries scored against all documents at a time."""
K1 = 1.5
"""How fast further occurrences of a word stop counting; the library's default."""
B = 0.75
"""How strongly long documents are penalised; the library's default, and Lucene's."""
CUT_DOCUMENTS = 50_000
"""Documents whose words are in memory as texts at a time."""
_BETWEEN = r"[^\p{L}\p{N}_]+"
"""What separates words, as the library's pattern does."""
_NO_WORD = -1
"""In place of the number of a word that does not count."""


class Bm25:
    """A BM25 index of documents."""

    def __init__(self, documents: Sequence[str]):
        self.documents = len(documents)
        corpus = _counted(documents)
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


class _Occurrences(NamedTuple):
    """Each word of each document, as often as it is there."""

    words: np.ndarray
    """(t,) numbers of words."""
    rows: np.ndarray
    """(t,) numbers of documents."""
    documents: int


class _Corpus(NamedTuple):
    """What the library takes as the words of documents."""

    ids: _Occurrences
    vocab: dict[str, int]


class _Index(bm25s.BM25):
    """The library's index with Lucene's formula, counted over all documents at once instead of one after another."""

    def build_index_from_ids(
        self, unique_token_ids: list[int], corpus_token_ids: _Occurrences, **_: bool
    ) -> dict[str, Any]:
        """Scores of each word in each document that has it, as columns of a sparse matrix: a word's documents."""
        self.nonoccurrence_array = None  # Lucene's formula has none
        words, rows, documents = corpus_token_ids
        lengths = np.bincount(rows, minlength=documents)
        places = words.astype(np.int64)
        places *= documents
        places += rows
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


def _counted(documents: Sequence[str]) -> _Corpus:
    """The words that `bm25s.tokenize` finds, by Arrow's kernels."""
    vocab: dict[str, int] = {}
    stop = frozenset(STOPWORDS_EN)
    found = []
    for start in range(0, len(documents), CUT_DOCUMENTS):
        texts = _lower(documents[start : start + CUT_DOCUMENTS])
        cut = pc.split_pattern_regex(texts, _BETWEEN)
        rows = pc.list_parent_indices(cut).to_numpy()
        distinct = cut.flatten().dictionary_encode()
        numbers = np.array(
            [
                _NO_WORD if len(word) < 2 or word in stop else vocab.setdefault(word, len(vocab))
                for word in distinct.dictionary.to_pylist()
            ],
            np.int32,
        )
        words = numbers[distinct.indices.to_numpy()]
        found.append((words[words >= 0], (start + rows[words >= 0]).astype(np.int32)))
    words, rows = (
        (np.concatenate(part) for part in zip(*found, strict=True)) if found else (np.array([]),) * 2
    )
    return _Corpus(_Occurrences(words, rows, len(documents)), vocab)


def _lower(texts: Sequence[str]) -> pa.Array:
    lower = [text.lower() for text in texts]
    try:
        return pa.array(lower, pa.large_string())
    except UnicodeEncodeError:  # half of a pair of surrogates, which is in no word
        return pa.array([text.encode(errors="replace").decode() for text in lower], pa.large_string())


def _words(texts: Sequence[str]) -> list[list[str]]:
    return bm25s.tokenize(list(texts), stopwords="english", return_ids=False, show_progress=False)
