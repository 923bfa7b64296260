"""Held-out evaluation against a naive implementation, scikit-learn, and BM25 by its formula."""

import hashlib
import io
import json
import math
import re
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pytest
from bm25s.stopwords import STOPWORDS_EN
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from sklearn.metrics import ndcg_score

from gte_ray.cli.tables import scores_table
from gte_ray.data.prepare_store import prepare
from gte_ray.errors import RunError
from gte_ray.evaluation.heldout import (
    SourceScores,
    evaluate,
    evaluate_bm25,
    held_out,
    mean_scores,
    skipped_sources,
)
from gte_ray.readers.spec import SourceSpec
from gte_ray.retrieval import metrics
from gte_ray.retrieval.bm25 import K1, B, Bm25


@dataclass
class Source:
    name: str


class FakeStore:
    """What the evaluation uses of a store."""

    def __init__(self, pairs: dict[str, list[tuple[str, str]]]):
        self.pairs = pairs
        self.manifest = self
        self.sources = [Source(name) for name in pairs]

    def read_held_out(self, source, limit):
        def hashes(texts):
            digests = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts]
            return pa.array([int.from_bytes(d, "little") for d in digests], pa.uint64())

        queries, documents = zip(*self.pairs[source][:limit], strict=True) if self.pairs[source] else ((), ())
        return pa.table(
            {
                "query": pa.array(queries, pa.large_string()),
                "document": pa.array(documents, pa.large_string()),
                "query_hash": hashes(queries),
                "document_hash": hashes(documents),
            }
        )


WORDS = "the cat dog sat mat on a fish runs red blue to sea sky is"
text = st.lists(st.sampled_from(WORDS.split()), min_size=1, max_size=6).map(" ".join)
pair_lists = st.lists(st.tuples(text, text), min_size=2, max_size=60)


def embed(texts):
    """Vectors that few values make, so that many similarities are equal."""
    seeds = [int.from_bytes(hashlib.blake2b(t.encode(), digest_size=2).digest(), "big") for t in texts]
    vectors = np.stack([np.random.default_rng(seed).integers(-1, 2, 4) for seed in seeds]).astype(np.float32)
    return vectors / 2


def bm25_by_formula(queries, documents):
    """Lucene's BM25, word by word."""

    def words(string):
        return [w for w in re.findall(r"(?u)\b\w\w+\b", string.lower()) if w not in STOPWORDS_EN]

    bags = [words(d) for d in documents]
    average = sum(map(len, bags)) / len(bags)
    table = np.zeros((len(queries), len(documents)))
    for i, query in enumerate(queries):
        for word in words(query):
            containing = sum(word in bag for bag in bags)
            idf = math.log(1 + (len(bags) - containing + 0.5) / (containing + 0.5))
            for j, bag in enumerate(bags):
                tf = bag.count(word)
                if tf:
                    table[i, j] += idf * tf / (tf + K1 * (1 - B + B * len(bag) / average))
    return table


def naive_scores(pairs, similarity, unretrieved=None):
    """The metrics query by query, from their definitions."""
    queries = list(dict.fromkeys(q for q, _ in pairs))
    documents = list(dict.fromkeys(d for _, d in pairs))
    table = similarity(queries, documents)
    rows = []
    for i, query in enumerate(queries):
        relevant = {documents.index(d) for q, d in pairs if q == query}
        ranking = sorted(range(len(documents)), key=lambda j: (-table[i][j], j))
        ranking = [j for j in ranking if table[i][j] != unretrieved]
        gains = [1.0 if j in relevant else 0.0 for j in ranking[:10]]
        ideal = sum(1 / math.log2(r + 2) for r in range(min(len(relevant), 10)))
        ndcg = sum(g / math.log2(r + 2) for r, g in enumerate(gains)) / ideal
        mrr = next((1 / (r + 1) for r, g in enumerate(gains) if g), 0.0)
        rows.append((ndcg, mrr, sum(gains[:1]) / len(relevant), sum(gains) / len(relevant)))
    return (len(queries), len(documents), *np.mean(rows, axis=0))


def values(scores: SourceScores):
    s = scores
    return (s.queries, s.documents, s.ndcg_at_10, s.mrr_at_10, s.recall_at_1, s.recall_at_10)


@settings(deadline=None, max_examples=60)
@given(pair_lists, st.sampled_from([1, 30, 4_000_000]))
def test_metrics_equal_their_definitions_with_any_tile(pairs, cells):
    expected = naive_scores(pairs, lambda q, d: embed(q) @ embed(d).T)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "TILE_CELLS", cells)
        found = evaluate(FakeStore({"s": pairs}), embed, 1000)
    if expected[1] < 2:
        assert found == ()
    else:
        assert values(found[0]) == pytest.approx(expected)


@settings(deadline=None, max_examples=60)
@given(pair_lists)
def test_bm25_equals_its_formula(pairs):
    store = FakeStore({"s": pairs})
    tasks = list(held_out(store, 1000))
    if not tasks:
        assert evaluate_bm25(store, 1000) == ()
        return
    table = bm25_by_formula(tasks[0].queries, tasks[0].documents)
    found = Bm25(tasks[0].documents).scores(tasks[0].queries)
    np.testing.assert_allclose(found, table, atol=1e-5)
    expected = naive_scores(pairs, lambda q, d: found, unretrieved=0.0)  # float32, for equal ties
    assert values(evaluate_bm25(store, 1000)[0]) == pytest.approx(expected)


def test_ndcg_equals_scikit_learn():
    rng = np.random.default_rng(0)
    pairs = [(f"q{i % 40}", f"d{rng.integers(90)}") for i in range(200)]
    vectors = {t: rng.normal(size=8).astype(np.float32) for pair in pairs for t in pair}
    store = FakeStore({"s": pairs})
    (found,) = evaluate(store, lambda texts: np.stack([vectors[t] for t in texts]), 1000)
    (task,) = held_out(store, 1000)
    relevance = np.zeros((len(task.queries), len(task.documents)))
    relevance[task.pair_queries, task.pair_documents] = 1
    similarity = (
        np.stack([vectors[q] for q in task.queries]) @ np.stack([vectors[d] for d in task.documents]).T
    )
    assert found.ndcg_at_10 == pytest.approx(ndcg_score(relevance, similarity, k=10))


def test_perfect_and_useless_models():
    pairs = [(f"question {i}", f"answer {i}") for i in range(50)]
    store = FakeStore({"s": pairs})

    def perfect(texts):
        return np.eye(50, dtype=np.float32)[[int(t.split()[1]) for t in texts]]

    def useless(texts):
        return perfect(texts) * np.float32(1 if texts[0].startswith("q") else -1)

    assert values(evaluate(store, perfect, 1000)[0]) == (50, 50, 1, 1, 1, 1)
    assert values(evaluate(store, useless, 1000)[0]) == (50, 50, 0, 0, 0, 0)
    with pytest.raises(RunError, match="of s are not finite"):
        evaluate(store, lambda texts: perfect(texts) * np.nan, 1000)


def test_sources_limit_and_those_that_are_too_small():
    many = [(f"word{i}", f"word{i} text") for i in range(30)]
    store = FakeStore({"many": many, "none": [], "one": [("a", "b"), ("c", "b")], "two": many[:2]})
    assert [s.source for s in evaluate(store, embed, 10)] == ["many", "two"]
    assert evaluate(store, embed, 10)[0].queries == 10
    assert [s.source for s in evaluate_bm25(store, 10)] == ["many", "two"]
    assert skipped_sources(store, 10) == ("none", "one")


def test_texts_without_words():
    pairs = [("?", "!"), ("the", "of"), ("-", "a")]
    assert values(evaluate_bm25(FakeStore({"s": pairs}), 10)[0]) == (3, 3, 0, 0, 0, 0)


def test_on_a_prepared_store(ray_local, tmp_path):
    pairs = [{"query": f"cat {i % 2000}", "document": f"dog {i % 1900} on {i}"} for i in range(4000)]
    (tmp_path / "many.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    (tmp_path / "one.jsonl").write_text(json.dumps(pairs[0]))
    sources = [SourceSpec(name, str(tmp_path / f"{name}.jsonl"), "others") for name in ("many", "one")]
    store = prepare(str(tmp_path / "store"), sources, held_out_share=0.5)
    assert skipped_sources(store, 1500) == ("one",)
    for limit in (700, 1500):
        rows = store.read_held_out("many", limit)
        held = list(zip(rows["query"].to_pylist(), rows["document"].to_pylist(), strict=True))
        assert len(held) == limit
        (found,) = evaluate(store, embed, limit)
        assert values(found) == pytest.approx(naive_scores(held, lambda q, d: embed(q) @ embed(d).T))
        assert evaluate_bm25(store, limit) == evaluate_bm25(FakeStore({"many": held}), limit)


def test_mean_gives_each_source_the_same_weight_and_the_table_shows_it():
    row = SourceScores(source="a", queries=10, documents=20, ndcg_at_10=0.1, mrr_at_10=0.2, recall_at_1=0.3,
                       recall_at_10=0.4)  # fmt: skip
    other = SourceScores(**{**asdict(row), "source": "b", "queries": 990, "ndcg_at_10": 0.9})
    mean = mean_scores([row, other])
    assert (mean.source, mean.queries, mean.documents) == ("mean", 1000, 40)
    assert mean.ndcg_at_10 == pytest.approx(0.5)
    console = Console(file=io.StringIO(), width=80)
    console.print(scores_table([row, row], [row, other], [other, row], ["tiny source"]))
    shown = console.file.getvalue()
    assert re.search(r"mean .* 10\.0 .* 50\.0 .* 50\.0 .* 20\.0 .* 20\.0 .* 30\.0 .* 40\.0", shown)
    assert "tiny source" in " ".join(shown.split()) and max(map(len, shown.splitlines())) <= 80
