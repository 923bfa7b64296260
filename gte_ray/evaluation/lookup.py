"""Documents of a store that are nearest to a query, by an embedding model and by BM25: for looking, not for scores.

Legend: n documents, D dimensions, k documents that are shown.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gte_ray.data.store import Store
from gte_ray.model.load import TextModel
from gte_ray.retrieval.bm25 import Bm25

CHUNK_TEXTS = 1_024
"""Documents that are encoded between two reports."""


class Hit(NamedTuple):
    score: float
    source: str
    document: str


@dataclass(frozen=True)
class Corpus:
    """Different documents, each with the first source that has it."""

    documents: tuple[str, ...]
    sources: tuple[str, ...]

    def best(self, scores: np.ndarray, k: int, above: float = -np.inf) -> list[Hit]:
        """Return the `k` documents with the highest of (n,) scores, those above `above`; equal ones in order."""
        order = np.argsort(-scores, kind="stable")[:k]
        return [Hit(float(scores[i]), self.sources[i], self.documents[i]) for i in order if scores[i] > above]


def read_corpus(store: Store, sources: Sequence[str], limit: int) -> Corpus:
    """Read at most `limit` documents of each source: held-out ones, then those of training pairs, which lie shuffled."""
    found: dict[str, str] = {}
    for info in store.chosen(sources):
        own = set[str]()
        for table in (
            store.read_held_out(info.name, limit),
            store.read_rows(info.name, 0, min(limit, info.rows), ["document"]),
        ):
            for document in table.column("document").to_pylist():
                if len(own) < limit:
                    own.add(document)
                    found.setdefault(document, info.name)
    return Corpus(tuple(found), tuple(found.values()))


class Lookup:
    """A corpus in both kinds of index."""

    def __init__(self, corpus: Corpus, model: TextModel, budget_tokens: int, report: Callable[[int], None]):
        """Encodes all documents; `report` is called with the number of those that were encoded since its last call."""
        self.corpus, self.model, self.budget_tokens = corpus, model, budget_tokens
        vectors = []
        for start in range(0, len(corpus.documents), CHUNK_TEXTS):
            vectors.append(model.documents(corpus.documents[start : start + CHUNK_TEXTS], budget_tokens))
            report(len(vectors[-1]))
        self.vectors_nD = np.concatenate(vectors)
        self.bm25 = Bm25(corpus.documents)

    def by_model(self, query: str, k: int) -> list[Hit]:
        """Return the `k` documents whose vectors have the highest cosines with the query's."""
        return self.corpus.best(self.vectors_nD @ self.model.queries([query], self.budget_tokens)[0], k)

    def by_bm25(self, query: str, k: int) -> list[Hit]:
        """Return the `k` documents that BM25 ranks highest, of those that share a word with the query."""
        return self.corpus.best(self.bm25.scores([query])[0], k, above=0.0)
