"""What is resampled of each type of task: its main score is made of it, and two models have the same of it."""

from statistics import fmean
from types import SimpleNamespace

import numpy as np
import pytest
from mteb.mocks.mock_tasks.clustering import LegacyMockClusteringFastTask
from scipy import stats
from scipy.stats import spearmanr

from gte_ray.evaluation.compare import compare, interval
from gte_ray.evaluation.mteb.benchmarks import Benchmark
from gte_ray.evaluation.mteb.example_scores import scores_of_examples
from gte_ray.evaluation.statistics import STATISTICS
from gte_ray.evaluation.task_results import TaskResult
from tests.evaluation.mteb.conftest import MINILM
from tests.evaluation.mteb.tasks import CLASSES
from tests.model.folders import bare_folder


@pytest.fixture
def scored(run, tmp_path):
    other = str(bare_folder(tmp_path / "other"))
    results, _ = run(Benchmark("local", tuple(kind() for kind in CLASSES)), (MINILM, other))
    return results


def test_all_types_have_examples_that_make_the_main_score(scored):
    results = scored
    for (_, task), result in results.items():
        assert not result.error
        if task == "MockClusteringTask":
            assert interval(result) is None, "its single set tells nothing"
            continue
        low, high = interval(result)
        assert low <= result.scores["main"] + 1e-4 and result.scores["main"] - 1e-4 <= high, task
        if result.pairs:
            statistic = STATISTICS[result.category]
            scores = [
                statistic(np.ones((1, len(g))), np.array(g), np.array(s))[0] for g, s in result.pairs.values()
            ]
        else:
            scores = [fmean(values.values()) for values in result.queries.values()]
        assert fmean(scores) == pytest.approx(result.scores["main"], abs=1e-4), task
    assert {result.category for result in results.values() if result.pairs} == {"STS", "PairClassification"}
    (comparison,) = compare("bench", list(results.values()))
    assert "1 of 7 tasks are not compared" in comparison.note
    compared = [kind().metadata.name for kind in CLASSES]
    compared.remove("MockClusteringTask")
    assert [row.task for row in comparison.rows] == compared


def test_the_average_has_an_interval_where_all_tasks_have_examples(scored):
    results = [result for (_, task), result in scored.items() if task != "MockClusteringTask"]
    (comparison,) = compare("bench", results)
    assert (comparison.rows[-1].task, comparison.note) == ("average", "")
    sets = SimpleNamespace(scores={"test": [{"hf_subset": "en", "v_measures": [0.5, 0.7]}]})
    task = SimpleNamespace(metadata=SimpleNamespace(type="Clustering"))
    assert scores_of_examples(task, sets, "") == {"en/test": {"0": 0.5, "1": 0.7}}


def test_the_interval_of_a_difference_of_correlations():
    """Against scipy's paired bootstrap of the same statistic."""
    random = np.random.default_rng(0)
    gold = random.random(200)
    one, two = gold + random.normal(0, 0.5, 200), gold + random.normal(0, 0.4, 200)

    def result(model, similarities):
        main = float(spearmanr(gold, similarities).statistic)
        pairs = {"s": [gold.tolist(), similarities.tolist()]}
        return TaskResult(model, "t", "STS", {"main": main}, pairs=pairs)

    (comparison,) = compare("bench", [result("a", one), result("b", two)])
    (row,) = comparison.rows
    assert row.examples == 200

    def difference(g, a, b):
        return spearmanr(g, b).statistic - spearmanr(g, a).statistic

    theirs = stats.bootstrap(
        (gold, one, two),
        difference,
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=4_000,
        rng=1,
    ).confidence_interval
    width = theirs.high - theirs.low
    assert row.low == pytest.approx(theirs.low, abs=0.07 * width)
    assert row.high == pytest.approx(theirs.high, abs=0.07 * width)


def test_a_task_without_examples_is_not_compared():
    results = [TaskResult(model, "t", "Speed", {"main": 0.5}) for model in "ab"]
    (comparison,) = compare("bench", results)
    assert not comparison.rows and "1 of 1 tasks are not compared" in comparison.note


def test_the_same_model_has_the_same_score_whatever_was_scored_before(run, tmp_path):
    """mteb draws what is clustered by a state that goes on from one model to the next."""
    copies = [str(bare_folder(tmp_path / name)) for name in "ab"]
    drawn = []

    class Told(LegacyMockClusteringFastTask):
        def _evaluate_subset(self, model, data_split, **named):
            drawn.append(self.rng_state.getstate())
            return super()._evaluate_subset(model, data_split, **named)

    results, units = run(Benchmark("local", (Told(),)), (MINILM, *copies[:1]))
    assert not any(map(interval, results.values())), "sets of the same texts are no examples"
    assert len(units) == 2
    assert drawn[0] == drawn[1]
    assert all(not result.error for result in results.values())
