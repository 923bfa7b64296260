"""BM25 on the same queries and candidates as the model: the line that an embedding has to pass.

The bm25s library with Lucene's formula. Words are runs of two or more letters, digits or underscores,
in lower case and without English stop words; there is no stemming.
"""

from collections.abc import Callable

import bm25s
import numpy as np

from gte_ray.data.store import Store
from gte_ray.evaluation.heldout import HeldOut, SourceScores, held_out
from gte_ray.evaluation.metrics import ranks

K1 = 1.5
"""How soon more occurrences of a word stop to count; the library's default."""
B = 0.75
"""How far long documents are marked down; the library's default, and Lucene's."""


def evaluate_bm25(store: Store, limit: int) -> tuple[SourceScores, ...]:
    """Scores of BM25 on what `heldout.evaluate` with the same arguments scores a model on."""
    return tuple(_score(task) for task in held_out(store, limit))


def _score(task: HeldOut) -> SourceScores:
    score = similarity(task)
    # A document that shares no word with the query scores 0: it is not retrieved.
    return task.scores(ranks(score, len(task.documents), task.pair_queries, task.pair_documents, above=0.0))


def similarity(task: HeldOut) -> Callable[[int, int], np.ndarray]:
    """The BM25 score of each document for a range of queries."""
    queries = _words(task.queries)
    corpus = bm25s.tokenize(task.documents, stopwords="english", show_progress=False)
    if not corpus.vocab:  # no document has a word; the library cannot index that
        return lambda start, stop: np.zeros((stop - start, len(task.documents)), np.float32)
    index = bm25s.BM25(k1=K1, b=B, method="lucene", backend="numpy", auto_compile=False)
    index.index(corpus, show_progress=False)
    return lambda start, stop: np.stack(
        [index.get_scores_from_ids(index.get_tokens_ids(words)) for words in queries[start:stop]]
    )


def _words(texts: list[str]) -> list[list[str]]:
    return bm25s.tokenize(texts, stopwords="english", return_ids=False, show_progress=False)
