"""Score checkpoints while training continues: training leaves weights behind and waits for no score."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import ray

from gte_ray.config import Config
from gte_ray.data.tokenize import TextTokenizer
from gte_ray.errors import LOWER_IN_SCORING, explain
from gte_ray.evaluation.heldout import SourceScores
from gte_ray.evaluation.scores import Scores, named
from gte_ray.model.weights_file import kept_weights
from gte_ray.runtime import storage

LOOK_SECONDS = 1.0
"""Time between two checks for weights that are still being written."""
Rows = tuple[Any, ...]
"""Scores of a board: dataclasses of its kind."""
Numbered = tuple[tuple[int, Rows], ...]
"""Numbers of steps, and the scores after them."""
OnScores = Callable[[int, Rows], None]


class Board(Protocol):
    """What weights are scored on."""

    key: str
    """Of the files that keep its scores."""

    @property
    def kind(self) -> Callable[..., Any]:
        """The dataclass of plain values that its rows are of."""

    def score(self, weights: str, step: int, gpu: bool) -> Any:
        """Start a Ray task that scores a weights file after `step` steps, on a GPU or one CPU; return its reference."""

    def metrics(self, rows: Rows) -> dict[str, float]:
        """Return the scores by the names that MLflow shows."""

    def failures(self, rows: Rows) -> list[str]:
        """Return a sentence for each score that there is not."""

    def added(self, scores: Scores, steps: Numbered, model_folder: str) -> Scores:
        """Return `scores` of a finished run, with those after `steps` and of the model at its end where they lack it."""


class HeldOutBoard:
    """The held-out pairs of the run's store."""

    key = ""
    kind = SourceScores

    def __init__(self, config: Config, tokenizer: TextTokenizer):
        self.config, self.tokenizer = config, tokenizer

    def score(self, weights: str, step: int, gpu: bool) -> Any:
        task = ray.remote(score_in_task).options(**task_options(gpu))
        return task.remote(self.config, self.tokenizer, weights, gpu)

    def metrics(self, rows: Rows) -> dict[str, float]:
        return named(rows)

    def failures(self, rows: Rows) -> list[str]:
        return []

    def added(self, scores: Scores, steps: Numbered, model_folder: str) -> Scores:
        return replace(scores, steps=steps)


def task_options(gpu: bool) -> dict[str, Any]:
    """Options of a task that scores with one CPU, outside the placement group of a Ray Tune trial."""
    return {"num_cpus": 1, "num_gpus": 1 if gpu else 0, "scheduling_strategy": "DEFAULT"}


class AsyncEvaluation:
    """Scores the weights of the steps that `run.eval` names, one after another in step order.

    Each evaluation is a Ray task with one CPU, and with a GPU if the cluster has more than the run's workers
    take. Scores are kept in the run's folder, and scored weights are deleted.
    """

    def __init__(self, config: Config, run_folder: str, start: int, board: Board, on_scores: OnScores):
        """`on_scores` is called with the number of steps and their scores, also those of earlier attempts.

        Training resumes at step `start`; weights up to it that were not kept are not waited for.
        """
        self.config, self.run_folder, self.board = config, run_folder, board
        self.on_scores = on_scores
        every = config.run.eval.every
        self.waiting = list(range(every, config.training.steps, every)) if every else []
        """Steps without scores yet, except the last."""
        self.scored: dict[int, Rows] = {}
        self.task: Any = None
        self.failed = False
        """Whether something failed, so that the rest is scored at the end of training."""
        self.looked = 0.0
        for step in [step for step in self.waiting if step <= start]:
            if storage.exists(self._path(step)):
                self._done(step, tuple(board.kind(**row) for row in storage.read_json(self._path(step))))
            elif not storage.exists(kept_weights(run_folder, step)):
                self.waiting.remove(step)

    def look(self, steps: int) -> None:
        """After so many `steps`, collect finished scores and start the next task; waits for no score.

        A failed task or storage does not raise: the rest is scored by `finish`.
        """
        try:
            self._look(steps)
        except OSError:  # storage is temporarily unavailable
            self.failed = True

    def _look(self, steps: int) -> None:
        if self.task is not None and ray.wait([self.task], timeout=0)[0]:
            self._take()
        now = time.monotonic()
        if self._startable(steps) and now - self.looked > LOOK_SECONDS:
            self.looked = now
            if storage.exists(kept_weights(self.run_folder, self.waiting[0])):
                self._start()

    def finish(self) -> Numbered:
        """Score what is left and return all scores.

        Raises RunError if something cannot be scored; running the same run again retries it.
        """
        while self.waiting:
            if self.task is None:
                self._start()
            self._take(last=True)
        return tuple(self.scored.items())

    def _startable(self, steps: int) -> bool:
        return self.task is None and not self.failed and bool(self.waiting) and self.waiting[0] <= steps

    def _start(self) -> None:
        workers = self.config.hardware.workers.most if self.config.hardware.gpu else 0
        spare = workers > 0 and ray.cluster_resources().get("GPU", 0) > workers
        step = self.waiting[0]
        self.task = self.board.score(kept_weights(self.run_folder, step), step, spare)

    def _take(self, last: bool = False) -> None:
        """Collect the task's scores; while training continues, a failure only means a retry at the end."""
        step, task, self.task = self.waiting[0], self.task, None
        try:
            rows = ray.get(task)
        except ray.exceptions.RayError as error:
            if last:
                raise explain(error, LOWER_IN_SCORING, f"after {step} steps: {{}}") from error
            self.failed = True
            return
        storage.write_json(self._path(step), [vars(row) for row in rows])
        storage.delete(kept_weights(self.run_folder, step))
        self._done(step, rows)

    def _done(self, step: int, rows: Rows) -> None:
        self.waiting.remove(step)
        self.scored[step] = rows
        self.on_scores(step, rows)

    def _path(self, step: int) -> str:
        return storage.join(self.run_folder, "scores", f"step-{step}{self.board.key}.json")


def score_in_task(*arguments: Any) -> tuple[SourceScores, ...]:
    from gte_ray.evaluation.scoring import score_weights  # takes seconds, and the driver does not need it

    return score_weights(*arguments)
