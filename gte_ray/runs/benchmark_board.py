"""The weights of a run on a benchmark, while it trains and at its end."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import ray

from gte_ray.data.hashing import digest
from gte_ray.data.tokenize import TextTokenizer
from gte_ray.evaluation.async_evaluation import Board, HeldOutBoard, Numbered, Rows, task_options
from gte_ray.evaluation.benchmark_names import HELD_OUT, load_benchmark, resolved
from gte_ray.evaluation.scoreboard import AVERAGE
from gte_ray.evaluation.scores import Scores
from gte_ray.evaluation.task_results import Scoring, TaskResult, Unit
from gte_ray.exporting.card import ModelCard
from gte_ray.runs.plan import Run
from gte_ray.runs.run_card import card_of
from gte_ray.runtime import storage
from gte_ray.runtime.pool import Pool


class BenchmarkBoard:
    """All tasks of a benchmark, one after another; what each has given is kept in the run's folder."""

    kind = TaskResult

    def __init__(self, run: Run, tokenizer: TextTokenizer):
        self.card, self.tokenizer = card_of(run), tokenizer
        self.folder, self.benchmark = run.folder, resolved(run.config.run.eval.scoreboard)
        self.key = f"-{digest(self.benchmark)[:8]}"

    def score(self, weights: str, step: int, gpu: bool) -> Any:
        task = ray.remote(_score_weights).options(**task_options(gpu))
        return task.remote(self.card, self.tokenizer, weights, self.scoring(gpu), self.kept_at(step))

    def metrics(self, rows: Rows) -> dict[str, float]:
        return {f"{self.name}/{task}": score for task, score in by_task(rows).items()}

    def failures(self, rows: Rows) -> list[str]:
        return [row.error for row in rows if row.error]

    def added(self, scores: Scores, steps: Numbered, model_folder: str) -> Scores:
        last, rows = self.card.config.training.steps, self.score_last(model_folder)
        found = tuple((step, by_task(those)) for step, those in (*steps, (last, rows)))
        return replace(
            scores, benchmark=self.name, benchmark_steps=found, benchmark_errors=tuple(self.failures(rows))
        )

    def score_last(self, model_folder: str) -> tuple[TaskResult, ...]:
        steps, gpu = self.card.config.training.steps, self.card.config.hardware.gpu
        task = ray.remote(_score_folder).options(**task_options(gpu)).remote
        rows: tuple[TaskResult, ...] = ray.get(
            task(storage.absolute(model_folder), self.scoring(gpu), self.kept_at(steps))
        )
        return rows

    @property
    def name(self) -> str:
        """As metrics and tables have it."""
        return storage.name(self.benchmark.rstrip("/"))

    def scoring(self, gpu: bool) -> Scoring:
        hardware = self.card.config.hardware
        return Scoring(self.benchmark, "", Pool(1, gpu, 1), hardware.micro_batch_tokens)

    def kept_at(self, step: int) -> str:
        return storage.absolute(storage.join(self.folder, "scores", f"tasks-{step}{self.key}"))


def by_task(rows: Sequence[TaskResult]) -> dict[str, float]:
    """The main score of each task that was scored, and the mean if all were."""
    scores = {row.task: row.scores["main"] for row in rows if not row.error}
    return scores | ({AVERAGE: fmean(scores.values())} if len(scores) == len(rows) else {})


def board_of(run: Run, tokenizer: TextTokenizer) -> Board:
    """What the run is scored on while it trains."""
    if run.config.run.eval.scoreboard in ("", HELD_OUT):
        return HeldOutBoard(run.config, tokenizer)
    return BenchmarkBoard(run, tokenizer)


def check_board(run: Run) -> None:
    """Raises UsageError for a benchmark that there is not, RunError if its files or mteb are missing."""
    name = run.config.run.eval.scoreboard
    if name not in ("", HELD_OUT):
        load_benchmark("--eval", resolved(name), check=True)


def _score_weights(
    card: ModelCard, tokenizer: TextTokenizer, weights: str, scoring: Scoring, kept: str
) -> tuple[TaskResult, ...]:
    """Scores the model as it would be exported."""
    from gte_ray.evaluation.scoring import first_encoder, local_copy
    from gte_ray.exporting.folder import export_model
    from gte_ray.model.weights_file import load_weights

    encoder = first_encoder(card.config, tokenizer, False, scoring.pool.threads)
    with tempfile.TemporaryDirectory() as folder, local_copy(weights) as path:
        load_weights(encoder, path)
        export_model(encoder, tokenizer, folder, card)
        return _score_folder(folder, scoring, kept)


def _score_folder(folder: str, scoring: Scoring, kept: str) -> tuple[TaskResult, ...]:
    """Scores a model on all tasks; those whose results are `kept` are not scored again."""
    from gte_ray.evaluation.mteb.score import Scorer

    scorer = Scorer(scoring)
    results: list[TaskResult] = []
    for name in scorer.tasks:
        file = storage.join(kept, f"{name}.json")
        if storage.exists(file):
            results += [TaskResult(**row) for row in storage.read_json(file)]
        else:
            results += scorer(Unit(folder, name, file))
    return tuple(results)
