"""Trials through Ray Tune: side by side as far as the cluster goes, one after another on a laptop."""

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
from gte_ray.runtime.cluster import Interruption
from gte_ray.tracking.tracker import TrackedRun
from gte_ray.train.step_report import StepReport

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # its tables come without being asked for

TRIAL_CPUS = 0.01
"""Logical CPUs of the process that drives a trial; its workers reserve their own."""
REPORT_SECONDS = 1.0
"""Time between two reports of a trial."""


@dataclass(frozen=True)
class TrialProgress:
    """What a running trial tells."""

    trial: int
    """Its number among those that run, from 0."""
    step: int
    steps: int
    loss: float
    said: str
    """A sentence for the console, empty for none."""


def run_trials(
    trials: Sequence[tuple[Run, TrackedRun]],
    output: str,
    on_progress: Callable[[TrialProgress], None],
    verbose: bool = False,
) -> list[str]:
    """Makes all runs, each shown in MLflow as said; for each the sentence why it failed, empty where it did not.

    A run that was cut off in an earlier call goes on from its last checkpoint. One whose driving process
    is lost is tried once more.
    """
    filesystem, path = storage.resolve(storage.join(output, "tune"))
    filesystem.create_dir(path, recursive=True)
    tuner = Tuner(
        ray.tune.with_resources(
            ray.tune.with_parameters(_trial, trials=list(trials), verbose=verbose), {"CPU": TRIAL_CPUS}
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


def _trial(params: dict[str, Any], trials: list[tuple[Run, TrackedRun]], verbose: bool) -> None:
    """Inside the trial's process. What the run itself says is wrong is a result; trying again changes nothing."""
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
    """Tells Tune what the run tells, now and then."""

    def __init__(self, trial: int):
        self.trial = trial
        self.step = self.steps = 0
        self.loss = float("nan")
        self.said: list[str] = []
        self.sent = 0.0

    def say(self, text: str) -> None:
        pass  # there is a line for each trial, and no room for more

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
    """Hands on what trials report."""

    def __init__(self, on_progress: Callable[[TrialProgress], None]):
        self.on_progress = on_progress

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune saves its callbacks; a console cannot be saved and need not

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        self.on_progress(
            TrialProgress(**{name: result[name] for name in ("trial", "step", "steps", "loss", "said")})
        )
