"""Trials through Ray Tune: side by side as far as the cluster goes, one after another on a laptop."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray.tune
from ray.tune import Callback, FailureConfig, RunConfig, TuneConfig, Tuner

from gte_ray import storage
from gte_ray.capacity import side_by_side
from gte_ray.claim import claimed
from gte_ray.config import Config, from_dict
from gte_ray.console import Interruption
from gte_ray.errors import RunError
from gte_ray.failures import LOWER_IN_TRAINING, explain
from gte_ray.run import open_run, plan_run
from gte_ray.runner import Place, execute
from gte_ray.train.report import StepReport

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # its tables come without being asked for

TRIAL_CPUS = 0.01
"""Logical CPUs of the process that drives a trial; its workers reserve their own."""
REPORT_SECONDS = 1.0
"""Time between two reports of a trial."""


@dataclass(frozen=True)
class Job:
    """A trial that is to run, and where MLflow shows it."""

    config: Config
    place: Place


@dataclass(frozen=True)
class Progress:
    """What a running trial tells."""

    trial: int
    """Number of the job, from 0."""
    step: int
    steps: int
    loss: float
    said: str
    """A sentence for the console, empty for none."""


def run_trials(
    jobs: Sequence[Job], output: str, on_progress: Callable[[Progress], None], verbose: bool = False
) -> list[str]:
    """Runs all jobs; for each the sentence why it failed, empty where it did not.

    A job that was cut off in an earlier call goes on from its last checkpoint. One whose driving process
    is lost is tried once more.
    """
    filesystem, path = storage.resolve(storage.join(output, "tune"))
    filesystem.create_dir(path, recursive=True)
    tuner = Tuner(
        ray.tune.with_resources(
            ray.tune.with_parameters(_trial, jobs=list(jobs), verbose=verbose), {"CPU": TRIAL_CPUS}
        ),
        param_space={"trial": ray.tune.grid_search(list(range(len(jobs))))},
        tune_config=TuneConfig(
            max_concurrent_trials=min(side_by_side(job.config, TRIAL_CPUS) for job in jobs)
        ),
        run_config=RunConfig(
            name=time.strftime("%Y%m%d-%H%M%S"),
            storage_path=path,
            storage_filesystem=filesystem,
            verbose=0,
            failure_config=FailureConfig(max_failures=1),
            callbacks=[_Follower(on_progress)],
        ),
    )
    errors = ["the trial ended without a result"] * len(jobs)
    for result in tuner.fit():
        number = result.config["trial"]
        if result.error is not None:
            errors[number] = str(explain(result.error, LOWER_IN_TRAINING))
        elif result.metrics.get("finished"):
            errors[number] = result.metrics["error"]
    return errors


def _trial(params: dict[str, Any], jobs: list[Job], verbose: bool) -> None:
    """Inside the trial's process. What the run itself says is wrong is a result; trying again changes nothing."""
    job = jobs[params["trial"]]
    display, error = _TuneDisplay(params["trial"]), ""
    try:
        run = plan_run(from_dict(job.config.to_dict()))
        with claimed(run.folder, Interruption(), display.warn):
            open_run(run, fresh=False)
            execute(run, display, Interruption(), job.place, verbose)
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

    def progress(self) -> Progress:
        said, self.said = "; ".join(self.said), []
        return Progress(self.trial, self.step, self.steps, self.loss, said)


class _Follower(Callback):
    """Hands on what trials report."""

    def __init__(self, on_progress: Callable[[Progress], None]):
        self.on_progress = on_progress

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune saves its callbacks; a console cannot be saved and need not

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        self.on_progress(
            Progress(**{name: result[name] for name in ("trial", "step", "steps", "loss", "said")})
        )
