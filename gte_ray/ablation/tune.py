"""Run trials with Ray Tune: in parallel as far as the cluster allows, one after another on a laptop."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray.tune
from ray.tune import Callback, FailureConfig, RunConfig, TuneConfig, Tuner

from gte_ray.errors import LOWER_IN_TRAINING, RunError, explain
from gte_ray.runs.capacity import side_by_side
from gte_ray.runs.execute import execute
from gte_ray.runs.lock import locked
from gte_ray.runs.plan import Run
from gte_ray.runs.run_folder import open_run
from gte_ray.runtime import storage
from gte_ray.runtime.cluster import Interruption, command_line, tell_command
from gte_ray.tracking.tracker import TrackedRun
from gte_ray.train.step_report import StepReport

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new output prints tables without being asked

TRIAL_CPUS = 0.01
"""Logical CPUs of the process that drives a trial; its workers reserve their own."""
REPORT_SECONDS = 1.0
"""Time between two reports of a trial."""


@dataclass(frozen=True)
class TrialProgress:
    """What a running trial reports."""

    trial: int
    """Index among the trials that run, from 0."""
    step: int
    steps: int
    loss: float
    said: str
    """A message for the console; empty for none."""


def run_trials(
    trials: Sequence[tuple[Run, TrackedRun]],
    output: str,
    on_progress: Callable[[TrialProgress], None],
    verbose: bool = False,
) -> list[str]:
    """Execute all runs, each shown in MLflow as its TrackedRun. Returns why each failed; empty if it did not.

    A run that was interrupted in an earlier call resumes from its last checkpoint. A run whose driver process
    is lost is retried once.
    """
    filesystem, path = storage.resolve(storage.join(output, "tune"))
    filesystem.create_dir(path, recursive=True)
    tuner = Tuner(
        ray.tune.with_resources(
            ray.tune.with_parameters(_trial, trials=list(trials), command=command_line(), verbose=verbose),
            {"CPU": TRIAL_CPUS},
        ),
        param_space={"trial": ray.tune.grid_search(list(range(len(trials))))},
        tune_config=TuneConfig(
            max_concurrent_trials=min(side_by_side(run.config, TRIAL_CPUS) for run, _ in trials)
        ),
        run_config=RunConfig(
            name=time.strftime("%Y%m%d-%H%M%S"),
            storage_path=path,
            storage_filesystem=filesystem,
            verbose=0,
            failure_config=FailureConfig(max_failures=1),
            callbacks=[_OnResult(on_progress)],
        ),
    )
    errors = ["the trial ended without a result"] * len(trials)
    for result in tuner.fit():
        number = result.config["trial"]
        if result.error is not None:
            errors[number] = str(explain(result.error, LOWER_IN_TRAINING))
        elif result.metrics.get("finished"):
            errors[number] = result.metrics["error"]
    return errors


def _trial(params: dict[str, Any], trials: list[tuple[Run, TrackedRun]], command: str, verbose: bool) -> None:
    """Run a trial, inside its process. A RunError is a result, because a retry would change nothing."""
    tell_command(command)
    run, tracked = trials[params["trial"]]
    display, error = _TuneDisplay(params["trial"]), ""
    try:
        with locked(run.folder, Interruption(), display.warn):
            open_run(run, fresh=False)
            execute(run, display, Interruption(), tracked, verbose)
    except RunError as failure:
        error = str(failure)
    ray.tune.report({**vars(display.progress()), "finished": True, "error": error})


class _TuneDisplay:
    """Reports the run's progress to Tune from time to time."""

    def __init__(self, trial: int):
        self.trial = trial
        self.step = self.steps = 0
        self.loss = float("nan")
        self.said: list[str] = []
        self.sent = 0.0

    def say(self, text: str) -> None:
        pass  # there is one line per trial, and no room for more

    def warn(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def training(self, steps: int, start: int):
        self.step, self.steps = start, steps
        yield self

    def show(self, reports: Sequence[StepReport]) -> None:
        self.step, self.loss = reports[-1].step + 1, reports[-1].metrics.loss
        if time.monotonic() - self.sent > REPORT_SECONDS:
            self.sent = time.monotonic()
            ray.tune.report({**vars(self.progress()), "finished": False, "error": ""})

    def progress(self) -> TrialProgress:
        said, self.said = "; ".join(self.said), []
        return TrialProgress(self.trial, self.step, self.steps, self.loss, said)


class _OnResult(Callback):
    """Passes on what trials report."""

    def __init__(self, on_progress: Callable[[TrialProgress], None]):
        self.on_progress = on_progress

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks; a console cannot be pickled and need not be

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        self.on_progress(
            TrialProgress(**{name: result[name] for name in ("trial", "step", "steps", "loss", "said")})
        )
