"""Scores of checkpoints while training goes on: training leaves weights behind and waits for no score."""

import time
from collections.abc import Callable
from typing import Any

import ray

from gte_ray.config import Config
from gte_ray.data.tokenize import TextTokenizer
from gte_ray.errors import LOWER_IN_SCORING, explain
from gte_ray.evaluation.heldout import SourceScores
from gte_ray.evaluation.scores import Steps
from gte_ray.model.weights_file import kept_weights
from gte_ray.runtime import storage

LOOK_SECONDS = 1.0
"""Time between two looks for weights that are still being written."""
OnScores = Callable[[int, tuple[SourceScores, ...]], None]


class AsyncEvaluation:
    """Scores the weights of steps that `run.eval` names, one after another in the order of the steps.

    Each is a Ray task of one CPU, with a GPU where the cluster has more of them than the run's workers take.
    What is scored is kept in the run's folder, and its weights are deleted.
    """

    def __init__(
        self, config: Config, run_folder: str, tokenizer: TextTokenizer, start: int, on_scores: OnScores
    ):
        """`on_scores` is called with the number of steps and their scores, also those of earlier attempts.

        Training goes on at step `start`; weights before it that were not kept are not waited for.
        """
        self.config, self.run_folder, self.tokenizer = config, run_folder, tokenizer
        self.on_scores = on_scores
        every = config.run.eval_every
        self.waiting = list(range(every, config.training.steps, every)) if every else []
        """Steps, before the last, that have no scores yet."""
        self.scored: dict[int, tuple[SourceScores, ...]] = {}
        self.task: Any = None
        self.failed = False
        """Whether something went wrong, so that the rest waits for the end of training."""
        self.looked = 0.0
        for step in [step for step in self.waiting if step <= start]:
            if storage.exists(self._path(step)):
                self._done(step, tuple(SourceScores(**row) for row in storage.read_json(self._path(step))))
            elif not storage.exists(kept_weights(run_folder, step)):
                self.waiting.remove(step)

    def look(self, steps: int) -> None:
        """Takes up what is done, and starts what can be, after so many `steps`; waits for no score, never raises."""
        try:
            self._look(steps)
        except OSError:  # storage that is away for a while
            self.failed = True

    def _look(self, steps: int) -> None:
        if self.task is not None and ray.wait([self.task], timeout=0)[0]:
            self._take()
        now = time.monotonic()
        if self._startable(steps) and now - self.looked > LOOK_SECONDS:
            self.looked = now
            if storage.exists(kept_weights(self.run_folder, self.waiting[0])):
                self._start()

    def finish(self) -> Steps:
        """Waits for what is left. RunError where something cannot be scored: the same run tries that again."""
        while self.waiting:
            if self.task is None:
                self._start()
            self._take(last=True)
        return tuple(self.scored.items())

    def _startable(self, steps: int) -> bool:
        return self.task is None and not self.failed and bool(self.waiting) and self.waiting[0] <= steps

    def _start(self) -> None:
        workers = self.config.hardware.most_workers if self.config.hardware.gpu else 0
        spare = workers > 0 and ray.cluster_resources().get("GPU", 0) > workers
        task = ray.remote(score_in_task).options(
            num_cpus=1, num_gpus=1 if spare else 0, scheduling_strategy="DEFAULT"
        )
        weights = kept_weights(self.run_folder, self.waiting[0])
        self.task = task.remote(self.config, self.tokenizer, weights, spare)

    def _take(self, last: bool = False) -> None:
        """Takes the task's scores; while training goes on, a failure only means another try at the end."""
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

    def _done(self, step: int, rows: tuple[SourceScores, ...]) -> None:
        self.waiting.remove(step)
        self.scored[step] = rows
        self.on_scores(step, rows)

    def _path(self, step: int) -> str:
        return storage.join(self.run_folder, "scores", f"step-{step}.json")


def score_in_task(*arguments: Any) -> tuple[SourceScores, ...]:
    from gte_ray.evaluation.scoring import score_weights  # takes seconds; the driver does without

    return score_weights(*arguments)
