"""The scores of each query, as pytrec_eval has them, and only where their mean is mteb's main score."""

from statistics import fmean

import pytest
import pytrec_eval
from mteb.abstasks import AbsTaskRetrieval
from mteb.mocks import mock_tasks

from gte_ray.evaluation.mteb.benchmarks import Benchmark
from gte_ray.evaluation.mteb.own import OwnRetrieval, Texts, task_metadata
from gte_ray.evaluation.mteb.query_scores import checked, recorded
from tests.evaluation.mteb.conftest import MINILM

QRELS = {"q1": {"d1": 1, "d3": 1}, "q2": {"d2": 1}, "q3": {"d3": 1}}
FOUND = {
    "q1": {"d1": 0.2, "d2": 0.9, "d3": 0.5},
    "q2": {"d1": 0.1, "d2": 0.8, "d3": 0.3},
    "q3": {"d1": 0.7, "d2": 0.6, "d3": 0.1},
}


class Small(OwnRetrieval):
    """Three queries, scored by any metric."""

    metadata = task_metadata("small", "Retrieval", "small", "0", "ndcg_at_10")

    def __init__(self, main_score):
        self.metadata = task_metadata(f"small-{main_score}", "Retrieval", "small", "0", main_score)
        super().__init__()

    def load_data(self, *arguments, **named):
        corpus = {"d1": "a river", "d2": "the stone", "d3": "some cloud"}
        queries = {"q1": "the water", "q2": "a rock", "q3": "what is in the sky"}
        self.set_texts({"default": Texts(corpus, queries, QRELS)})


@pytest.mark.parametrize(
    ("metric", "measure"),
    [
        ("ndcg_at_3", "ndcg_cut_3"), ("map_at_1000", "map_cut_1000"), ("recall_at_1", "recall_1"),
        ("precision_at_1", "P_1"), ("mrr_at_1000", "recip_rank"),
    ],
)  # fmt: skip
def test_a_metric_of_each_query_is_that_of_trec_eval(metric, measure):
    name = measure.rstrip("0123456789").rstrip("_") if measure != "recip_rank" else measure
    cut = measure.rpartition("_")[2]
    asked = name if measure == "recip_rank" else f"{name}.{cut}"
    scores = pytrec_eval.RelevanceEvaluator(QRELS, {asked}).evaluate(FOUND)
    task = Small(metric)
    with recorded(task) as groups:
        assert task.task_specific_scores(scores, QRELS, FOUND, hf_split="test", hf_subset="default") == {}
    expected = {query: values[measure] for query, values in scores.items()}
    assert groups == {f"small-{metric}/default/test": pytest.approx(expected)}
    assert task.task_specific_scores.__func__ is AbsTaskRetrieval.task_specific_scores, "mteb's again"


def test_results_have_them_for_retrieval_and_reranking_alone(run):
    kinds = (mock_tasks.MockRetrievalTask, mock_tasks.MockRerankingTask, mock_tasks.MockSTSTask)
    results, _ = run(Benchmark("local", (*(kind() for kind in kinds), Small("mrr_at_10"))))
    retrieval, reranking, sts, small = (
        results[MINILM, name] for name in (*(kind().metadata.name for kind in kinds), "small-mrr_at_10")
    )
    assert not sts.queries, "its score is of all pairs together"
    for result in (retrieval, reranking, small):
        means = [fmean(scores.values()) for scores in result.queries.values()]
        assert fmean(means) == pytest.approx(result.scores["main"], abs=1e-4)
    assert len(retrieval.queries) == 2, "a group for each subset"
    assert list(small.queries) == ["small-mrr_at_10/default/test"]


def test_a_main_score_that_is_made_otherwise_has_none():
    groups = {"a": {"q": 0.5}, "b": {"q": 0.7, "r": 0.9}}
    assert checked(groups, 0.65) == groups
    assert checked(groups, 0.7) == {}
    assert checked({"a": {}}, 0.0) == {}
    assert checked({"a": {"q": 0.5}, "b": {}}, 0.5) == {"a": {"q": 0.5}}
