"""An ablation from its rows to its report: what `ablations/run.py` calls."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from gte_ray.ablation.readout import experiment_of, log_report, read_report
from gte_ray.ablation.records import ABLATION, CELLS_FILE, LINK, PROFILE, Records
from gte_ray.ablation.report import Report
from gte_ray.ablation.study import Ablation, Setting
from gte_ray.ablation.trials import Cell, Trial, expand
from gte_ray.ablation.tune import TRIAL_CPUS, Job, Progress, run_trials
from gte_ray.capacity import check_capacity
from gte_ray.config import Config
from gte_ray.console import Interruption
from gte_ray.data.store import open_store
from gte_ray.errors import RunError
from gte_ray.progress import Display
from gte_ray.run import open_run
from gte_ray.runner import Place, Results, command_line, finished
from gte_ray.tracking import TrackedRun, Tracker
from gte_ray.tracking_uri import resolve_uri

START_SECONDS = 30.0
"""Time that MLflow has to answer before the first trial."""


@dataclass(frozen=True)
class Study:
    """An ablation that has met its profile, store and seeds."""

    name: str
    ablation: Ablation
    profile: str
    base: Config
    trials: list[Trial]
    cells: list[Cell]

    @property
    def experiment(self) -> str:
        """MLflow's experiment."""
        return experiment_of(self.name)

    @property
    def largest(self) -> Config:
        """The config of a trial that takes the most of Ray."""
        return max((trial.run.config for trial in self.trials), key=lambda config: config.cpus)


def plan(
    name: str, ablation: Ablation, profile: str, base: Config, seeds: int, finetuning_store: str = ""
) -> Study:
    """Opens the stores and lays out all trials. Raises UsageError or RunError in one sentence."""
    setting = Setting(
        profile,
        _sources(base.data.store),
        finetuning_store,
        _sources(finetuning_store) if finetuning_store else {},
    )
    base = replace(base, run=replace(base.run, name="", tracking_uri=resolve_uri(base.run.tracking_uri)))
    trials, cells = expand(ablation.rows(base, setting), seeds)
    return Study(name, ablation, profile, base, trials, cells)


def _sources(store: str) -> dict[str, int]:
    return {source.name: source.rows for source in open_store(store).manifest.sources}


def conduct(
    study: Study,
    display: Display,
    on_progress: Callable[[Trial, Progress], None],
    interruption: Interruption,
    verbose: bool = False,
) -> Report:
    """Runs the trials that are not finished yet and reports on all. Ray must be initialised.

    Raises RunError when MLflow does not answer at the start. A trial that fails is a line of the report.
    """
    check_capacity(study.largest, display.warn, TRIAL_CPUS)
    tracker = _parent(study, display, verbose)
    parent = tracker.reached(START_SECONDS)
    if parent is None:
        left = tracker.finish("FAILED", timeout_s=0.5)
        raise RunError(f"an ablation needs MLflow from its start: {left}")
    records = Records(study.base.run.tracking_uri, study.experiment)
    interruption.on_interrupt(lambda: records.end_unfinished(parent, "KILLED"))
    interruption.on_interrupt(lambda: tracker.finish("KILLED", timeout_s=5.0))
    tracker.log_artifact(_write(CELLS_FILE, json.dumps([cell.to_dict() for cell in study.cells])))

    waiting = _unfinished(study, parent, records, display)
    done = len(study.trials) - len(waiting)
    display.say(f"{len(waiting)} trial(s) to run" + (f", {done} finished earlier" if done else ""))
    errors = _run(study, waiting, parent, on_progress, verbose)
    records.end_failed(parent, errors)
    tracker.flush(START_SECONDS)
    report = read_report(records, parent, study.name, study.ablation, study.profile)
    log_report(report, records, parent, tracker)
    unwritten = tracker.finish("FAILED" if report.failed else "FINISHED")
    if unwritten:
        display.warn(unwritten)
    return report


def _unfinished(study: Study, parent: str, records: Records, display: Display) -> list[Trial]:
    """The trials that are to run; those that are done elsewhere are linked."""
    waiting = []
    for trial in study.trials:
        open_run(trial.run, fresh=False)
        results = finished(trial.run, display, _place(study, trial, parent))
        if results is None:
            waiting.append(trial)
        elif trial.run.fingerprint not in records.children(parent):
            _link(study, trial, results, parent, display)
    return waiting


def _run(
    study: Study,
    waiting: list[Trial],
    parent: str,
    on_progress: Callable[[Trial, Progress], None],
    verbose: bool,
) -> dict[str, str]:
    """Runs first stages, then what starts from their models; why trials failed, by fingerprint."""
    errors: dict[str, str] = {}
    for later in (False, True):
        ready = [trial for trial in waiting if bool(trial.after) == later and trial.after not in errors]
        if not ready:
            continue
        jobs = [Job(trial.run.config, _place(study, trial, parent)) for trial in ready]

        def show(progress: Progress, ready: list[Trial] = ready) -> None:
            on_progress(ready[progress.trial], progress)

        said = run_trials(jobs, study.base.run.output, show, verbose)
        errors |= {trial.run.fingerprint: error for trial, error in zip(ready, said, strict=True) if error}
    return errors


def _parent(study: Study, display: Display, verbose: bool) -> Tracker:
    identity = hashlib.sha256(
        "".join(sorted({c.fingerprint for c in study.cells if c.seed == study.base.seed})).encode()
    )
    run = study.base.run
    tracked = TrackedRun(
        key=f"{study.name}-{study.profile}-{identity.hexdigest()[:16]}",
        name=f"{study.name}, {study.profile}",
        experiment=study.experiment,
        params={"profile": study.profile, "rows": len({cell.row for cell in study.cells})},
        tags={
            **_tags(study),
            "gte_ray.title": study.ablation.title,
            "gte_ray.question": study.ablation.question,
            "gte_ray.claim": study.ablation.claim,
            "gte_ray.store": study.trials[0].run.store.fingerprint,
            "gte_ray.command": command_line(),
        },
    )
    spool = os.path.join(tempfile.gettempdir(), f"gte_ray-{tracked.key}", "mlflow-spool.jsonl")
    return Tracker(run.tracking_uri, tracked, spool, display.warn, verbose)


def _tags(study: Study) -> dict[str, str]:
    return {ABLATION: study.name, PROFILE: study.profile}


def _place(study: Study, trial: Trial, parent: str) -> Place:
    tags = _tags(study) | {"gte_ray.row": trial.label, "gte_ray.seed": str(trial.run.config.seed)}
    return Place(study.experiment, f"{study.name} {trial.label}", parent, tags)


def _link(study: Study, trial: Trial, results: Results, parent: str, display: Display) -> None:
    """A child with the scores of a run that was made elsewhere, and the id of that run."""
    place = _place(study, trial, parent)
    tags = {**place.tags, "gte_ray.fingerprint": trial.run.fingerprint, LINK: results.mlflow_run}
    tracked = TrackedRun(
        f"{parent}-{trial.run.fingerprint}",
        f"{place.name} (linked)",
        place.experiment,
        {},
        tags,
        parent,
    )
    spool = os.path.join(tempfile.mkdtemp(prefix="gte_ray-link-"), "mlflow-spool.jsonl")
    tracker = Tracker(study.base.run.tracking_uri, tracked, spool, display.warn)
    for step, metrics in results.scores.metrics(trial.run.config.training.steps):
        tracker.log_step(step, metrics)
    if unwritten := tracker.finish():
        display.warn(unwritten)


def _write(name: str, text: str) -> str:
    path = Path(tempfile.mkdtemp(prefix="gte_ray-ablation-")) / name
    path.write_text(text)
    return str(path)
