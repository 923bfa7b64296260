"""Held-out evaluation: retrieve each source's held-out documents with its held-out queries."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from gte_ray.data.hashing import number_texts
from gte_ray.data.store import Store
from gte_ray.errors import RunError
from gte_ray.retrieval.bm25 import Bm25
from gte_ray.retrieval.metrics import Retrieval, ndcg_at_10, ranks, retrieval

Embed = Callable[[list[str]], np.ndarray]
FEWEST_DOCUMENTS = 2
"""Fewest candidates for which retrieval means anything: a source with fewer documents is skipped."""


@dataclass(frozen=True)
class SourceScores(Retrieval):
    """Retrieval scores on the held-out pairs of one source: averages over queries, from 0 to 1."""

    source: str
    queries: int
    """Number of distinct query texts."""
    documents: int
    """Number of distinct document texts, which are the candidates of every query."""


@dataclass(frozen=True)
class HeldOut:
    """One source's held-out pairs as a retrieval task: Q queries, N documents and P pairs, all distinct."""

    source: str
    queries: list[str]
    documents: list[str]
    pair_queries: np.ndarray
    """(P,) int64, ascending, from 0 to Q - 1."""
    pair_documents: np.ndarray
    """(P,) int64, ascending within a query: its relevant documents."""

    def query_scores(self, pair_ranks: np.ndarray) -> dict[str, float]:
        """nDCG@10 of each query, by its number; `pair_ranks` (P,) are those of the relevant documents."""
        return {
            str(number): score
            for number, score in enumerate(ndcg_at_10(pair_ranks, self.pair_queries).tolist())
        }

    def scores(self, pair_ranks: np.ndarray) -> SourceScores:
        values = asdict(retrieval(pair_ranks, self.pair_queries))
        return SourceScores(
            source=self.source, queries=len(self.queries), documents=len(self.documents), **values
        )


def evaluate(
    store: Store, embed: Embed, limit: int, embed_documents: Embed | None = None
) -> tuple[SourceScores, ...]:
    """Score an embedding model on at most `limit` held-out pairs of each source.

    `embed` maps n texts to (n, D) normalised float32 vectors. `embed_documents` does so for documents, if
    they are embedded differently from queries. A source with fewer than two held-out documents has no scores
    (see `skipped_sources`). Raises RunError if a vector is not finite.
    """
    return tuple(score_source(task, embed, embed_documents) for task in held_out(store, limit))


def evaluate_first(
    store: Store, embed: Embed, limit: int, embed_documents: Embed, dimensions: Sequence[int]
) -> dict[int, tuple[SourceScores, ...]]:
    """Score the first of a model's dimensions alone, for each of `dimensions`, by one encoding; see `evaluate`."""
    rows: dict[int, list[SourceScores]] = {k: [] for k in dimensions}
    for task in held_out(store, limit):
        q_QD, d_ND = _vectors(task, embed, embed_documents)
        for k, scores in rows.items():
            scores.append(task.scores(_ranks(task, _first(q_QD, k), _first(d_ND, k))))
    return {k: tuple(scores) for k, scores in rows.items()}


def score_source(task: HeldOut, embed: Embed, embed_documents: Embed | None = None) -> SourceScores:
    """Score an embedding model on one source; see `evaluate`."""
    return task.scores(model_ranks(task, embed, embed_documents or embed))


def model_ranks(task: HeldOut, embed: Embed, embed_documents: Embed) -> np.ndarray:
    """(P,) int64, the rank of each pair's document for its query by an embedding model; see `evaluate`."""
    return _ranks(task, *_vectors(task, embed, embed_documents))


def _vectors(task: HeldOut, embed: Embed, embed_documents: Embed) -> tuple[np.ndarray, np.ndarray]:
    """Return (Q, D) vectors of the queries and (N, D) of the documents."""
    q_QD, d_ND = embed(task.queries), embed_documents(task.documents)
    if not (np.isfinite(q_QD).all() and np.isfinite(d_ND).all()):
        raise RunError(f"the model's embeddings of held-out texts of {task.source} are not finite")
    return q_QD, d_ND


def _first(vectors: np.ndarray, dimensions: int) -> np.ndarray:
    """Return the first of the vectors' dimensions, with length 1 again."""
    if dimensions == vectors.shape[1]:
        return vectors
    cut = vectors[:, :dimensions]
    return cut / np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), 1e-12)


def _ranks(task: HeldOut, q_QD: np.ndarray, d_ND: np.ndarray) -> np.ndarray:
    def similarity(start: int, stop: int) -> np.ndarray:
        return q_QD[start:stop] @ d_ND.T

    return ranks(similarity, len(d_ND), task.pair_queries, task.pair_documents)


def held_out(store: Store, limit: int) -> Iterator[HeldOut]:
    """Yield the retrieval tasks of all sources in store order, except those that are too small."""
    for info in store.manifest.sources:
        task = source_task(store, info.name, limit)
        if len(task.documents) >= FEWEST_DOCUMENTS:
            yield task


def skipped_sources(store: Store, limit: int) -> tuple[str, ...]:
    """Return the names of the sources that `evaluate` skips."""
    scored = {task.source for task in held_out(store, limit)}
    return tuple(info.name for info in store.manifest.sources if info.name not in scored)


def source_task(store: Store, source: str, limit: int) -> HeldOut:
    """Return the retrieval task of one source, however small."""
    rows = store.read_held_out(source, limit)
    queries, query_of_row = number_texts(rows["query_hash"].to_numpy())
    documents, document_of_row = number_texts(rows["document_hash"].to_numpy())
    pairs = np.unique(np.stack([query_of_row, document_of_row]), axis=1)
    return HeldOut(
        source,
        rows["query"].take(queries).to_pylist(),
        rows["document"].take(documents).to_pylist(),
        pairs[0],
        pairs[1],
    )


def mean_scores(scores: Sequence[SourceScores]) -> SourceScores:
    """Return the average over sources with equal weights; `queries` and `documents` are sums."""
    if not scores:
        raise ValueError("no source has scores")
    metrics = ("ndcg_at_10", "mrr_at_10", "recall_at_1", "recall_at_10")
    return SourceScores(
        source="mean",
        queries=sum(row.queries for row in scores),
        documents=sum(row.documents for row in scores),
        **{name: float(np.mean([getattr(row, name) for row in scores])) for name in metrics},
    )


def evaluate_bm25(store: Store, limit: int) -> tuple[SourceScores, ...]:
    """Score BM25 on the same texts as `evaluate` with the same store and limit."""
    return tuple(task.scores(bm25_ranks(task)) for task in held_out(store, limit))


def bm25_ranks(task: HeldOut) -> np.ndarray:
    """(P,) int64, the rank of each pair's document for its query by BM25."""
    index = Bm25(task.documents)

    def score(start: int, stop: int) -> np.ndarray:
        return index.scores(task.queries[start:stop])

    # A document that shares no word with the query scores 0 and is not retrieved.
    return ranks(score, len(task.documents), task.pair_queries, task.pair_documents, above=0.0)
