"""Scores through our models and actors, against mteb's own path, scikit-learn's kind and pytrec_eval."""

import json
from dataclasses import replace
from pathlib import Path

import mteb
import numpy as np
import pytest
import pytrec_eval
from mteb.mocks import mock_tasks
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer

from gte_ray import evaluate
from gte_ray.data.store import open_store
from gte_ray.errors import UsageError
from gte_ray.evaluation import benchmark_names
from gte_ray.evaluation.heldout import evaluate_bm25
from gte_ray.evaluation.heldout_benchmark import HeldOutScoring, score_held_out
from gte_ray.evaluation.mteb import benchmarks
from gte_ray.evaluation.mteb.benchmarks import Benchmark, benchmark
from gte_ray.model.load import load_model
from tests.evaluation.mteb.conftest import MINILM, scoring
from tests.evaluation.mteb.tasks import CLASSES


def test_every_category_scores_what_mteb_scores_with_sentence_transformers(run):
    found = Benchmark("local", tuple(kind() for kind in CLASSES))
    results, _ = run(found)
    theirs = SentenceTransformer(MINILM, device="cpu")
    for kind in CLASSES:
        task = kind()
        expected = mteb.evaluate(theirs, task, cache=None, co2_tracker=False, show_progress_bar=False)
        result = results[MINILM, task.metadata.name]
        assert not result.error
        assert result.category == task.metadata.type
        assert result.scores["main"] == pytest.approx(expected.task_results[0].get_score(), abs=1e-4)


def test_sts_is_the_rank_correlation_of_cosines(run):
    task = mock_tasks.MockSTSTask()
    task.load_data()
    rows = task.dataset["test"]
    vectors = [
        SentenceTransformer(MINILM, device="cpu").encode(list(rows[c])) for c in ("sentence1", "sentence2")
    ]
    cosines = (vectors[0] * vectors[1]).sum(1)
    results, _ = run(Benchmark("local", (mock_tasks.MockSTSTask(),)))
    (result,) = results.values()
    assert result.scores["main"] == pytest.approx(spearmanr(cosines, rows["score"]).statistic, abs=1e-6)


@pytest.fixture
def folder(tmp_path):
    """A benchmark in BEIR's layout."""
    rng = np.random.default_rng(0)
    words = [
        "river",
        "stone",
        "cloud",
        "paper",
        "engine",
        "window",
        "garden",
        "metal",
        "signal",
        "winter",
        "market",
        "planet",
    ]
    texts = [" ".join(rng.choice(words, 6)) for _ in range(60)]
    path = tmp_path / "mine"
    (path / "qrels").mkdir(parents=True)
    corpus = [
        {"_id": f"d{i}", "title": "about" if i % 2 else "", "text": text} for i, text in enumerate(texts)
    ]
    queries = [{"_id": f"q{i}", "text": " ".join(text.split()[:3])} for i, text in enumerate(texts[:20])]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    qrels = [f"q{i}\td{(i + k) % 60}\t{1 + k}" for i in range(20) for k in range(2)]
    (path / "qrels/test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *qrels]) + "\n")
    return path


@pytest.mark.parametrize("model", [MINILM, "bm25"], ids=["model", "bm25"])
def test_a_folder_is_scored_as_pytrec_eval_scores_it(model, folder, run):
    results, _ = run(benchmark(str(folder)), (model,))
    (result,) = results.values()
    corpus = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    queries = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    texts = [f"{row['title']} {row['text']}".strip() for row in corpus]
    if model == "bm25":
        similarity = tasks_bm25(texts).scores([row["text"] for row in queries])
    else:
        theirs = SentenceTransformer(MINILM, device="cpu")
        similarity = theirs.encode([row["text"] for row in queries]) @ theirs.encode(texts).T
    found = {
        query["_id"]: {
            row["_id"]: float(s) for row, s in zip(corpus, scores, strict=True) if s > 0 or model == MINILM
        }
        for query, scores in zip(queries, similarity, strict=True)
    }
    relevant: dict = {}
    for line in (folder / "qrels/test.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        relevant.setdefault(query, {})[document] = int(grade)
    expected = pytrec_eval.RelevanceEvaluator(relevant, {"ndcg_cut.10", "recall.100"}).evaluate(found)
    for ours, name in (("main", "ndcg_cut_10"), ("recall_at_100", "recall_100")):
        mean = np.mean([scores[name] for scores in expected.values()])
        assert result.scores[ours] == pytest.approx(mean, abs=2e-4)


def tasks_bm25(texts):
    from gte_ray.retrieval.bm25 import Bm25

    return Bm25(texts)


def test_what_was_scored_is_kept_and_a_failing_task_stops_no_other(run, folder):
    class Unreachable(mock_tasks.MockSTSTask):
        def load_data(self, *arguments, **named):
            raise ConnectionError("the hub cannot be reached")

    unreachable = Unreachable()
    unreachable.metadata = unreachable.metadata.model_copy(update={"name": "Unreachable"})
    both = Benchmark("local", (unreachable, *benchmark(str(folder)).tasks))
    results, units = run(both)
    assert len(units) == 2
    failed = results[MINILM, "Unreachable"]
    assert not failed.scores
    assert failed.error.startswith("Unreachable: the hub cannot be reached; its data are")
    assert "HF_HOME" in failed.error
    assert results[MINILM, "mine"].scores
    again, units = run(both)
    assert [task for _, task, _ in units] == ["Unreachable"]
    assert again[MINILM, "mine"] == results[MINILM, "mine"]
    # Other data, other results.
    qrels = folder / "qrels/test.tsv"
    qrels.write_text(qrels.read_text() + "q0\td9\t1\n")
    _, units = run(Benchmark("local", benchmark(str(folder)).tasks))
    assert len(units) == 1


def test_bm25_is_scored_where_it_can_be(run):
    results, _ = run(Benchmark("local", tuple(kind() for kind in CLASSES)), ("bm25",))
    assert {result.category for result in results.values()} == {"Retrieval", "Reranking"}
    assert all(result.scores for result in results.values())


def test_the_held_out_pairs_of_a_store(run, tiny_store, tmp_path):
    held_out = HeldOutScoring(tiny_store, 40, scoring(tmp_path, "heldout"))
    told = []
    results = score_held_out(held_out, [MINILM, "bm25"], lambda result, cached: told.append(cached))
    store = open_store(tiny_store)
    expected = {row.source: row.ndcg_at_10 for row in evaluate_bm25(store, 40)}
    assert {r.task: r.scores["main"] for r in results if r.model == "bm25"} == pytest.approx(expected)
    assert told == [False] * len(results)
    again = score_held_out(held_out, [MINILM, "bm25"], lambda result, cached: told.append(cached))
    assert sorted(map(repr, again)) == sorted(map(repr, results))
    assert all(told[len(results) :])
    other = score_held_out(replace(held_out, limit=30), ["bm25"], lambda result, cached: None)
    assert other


def test_the_real_model_gives_its_authors_embeddings():
    texts = ["A river stone.", "clouds over the river " * 200, "", "def f(x): return x"]
    theirs = SentenceTransformer(MINILM, device="cpu").encode(texts)
    ours = load_model(MINILM).embed(texts, 4_096)
    assert np.abs(ours - theirs).max() < 1e-5


def test_words_mean_what_they_say_whatever_folders_are_there(run_main, tiny_store, tmp_path, monkeypatch):
    assert set(benchmark_names.BENCHMARK_WORDS) == {benchmark_names.HELD_OUT, *benchmarks.BENCHMARKS}
    monkeypatch.chdir(tmp_path)
    for word in ("heldout", "bm25"):
        (tmp_path / word).mkdir()
    place = ["--store", tiny_store, "--tracking-uri", f"sqlite:///{tmp_path}/m.db"]
    code, out, err = run_main(evaluate.main, "evaluate", "bm25", *place)
    assert (code, err) == (0, "") and "bm25  large  " in out
    code, _, err = run_main(evaluate.main, "evaluate", "bm25", "--benchmark", "./heldout", *place)
    assert code == 2 and f"--benchmark is '{tmp_path}/heldout'; allowed are" in err


def test_unknown_benchmarks_list_those_there_are(tmp_path):
    with pytest.raises(
        UsageError,
        match=r"allowed are heldout, mteb-en, .*, longembed, a benchmark or task of mteb by its name, or a folder",
    ):
        benchmark("nope")
    (tmp_path / "corpus.jsonl").write_text("")
    with pytest.raises(UsageError, match=r"queries.jsonl: missing from a benchmark in BEIR's layout"):
        benchmark(str(tmp_path))
    assert Path(MINILM).is_dir()
