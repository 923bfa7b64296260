"""Run an ablation from its rows to its report, for `ablations/run.py`."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from gte_ray.ablation.children import Children
from gte_ray.ablation.metric import HELD_OUT_PAIRS, Metric
from gte_ray.ablation.records import ABLATION, PROFILE, TRIALS_FILE, Records
from gte_ray.ablation.report import Report
from gte_ray.ablation.results import experiment_of, log_report, read_report
from gte_ray.ablation.scoring import score_trials
from gte_ray.ablation.study import Ablation, Setting
from gte_ray.ablation.trials import Trial, plan_trials, to_run
from gte_ray.ablation.tune import TRIAL_CPUS, TrialProgress, run_trials
from gte_ray.config import Config
from gte_ray.data.store import open_store
from gte_ray.errors import RunError
from gte_ray.runs.capacity import check_capacity
from gte_ray.runs.display import Display
from gte_ray.runs.execute import finished
from gte_ray.runs.run_folder import open_run
from gte_ray.runtime.cluster import Interruption, command_line
from gte_ray.tracking.queue import QUEUE_FILE
from gte_ray.tracking.server import resolve_uri
from gte_ray.tracking.tracker import TrackedRun, Tracker

MLFLOW_SECONDS = 30.0
"""Timeout for MLflow to answer before the first trial, and to take all records after the last."""
OnProgress = Callable[[Trial, TrialProgress], None]


@dataclass(frozen=True)
class Study:
    """An ablation planned for a profile, store and seeds."""

    name: str
    ablation: Ablation
    profile: str
    base: Config
    trials: list[Trial]
    metrics: tuple[Metric, ...] = (HELD_OUT_PAIRS,)
    """The claim is judged by each; the first one's figure is drawn."""

    @property
    def experiment(self) -> str:
        """Name of the experiment in MLflow."""
        return experiment_of(self.name)

    @property
    def tags(self) -> dict[str, str]:
        """Tags on the parent run and its children in MLflow."""
        return {ABLATION: self.name, PROFILE: self.profile}

    @property
    def largest(self) -> Config:
        """The config of the trial that takes the most CPUs in Ray."""
        return max((trial.run.config for trial in to_run(self.trials)), key=lambda config: config.cpus)


def plan_study(
    name: str,
    ablation: Ablation,
    profile: str,
    base: Config,
    seeds: int,
    finetuning_store: str = "",
    *,
    metrics: tuple[Metric, ...] = (HELD_OUT_PAIRS,),
) -> Study:
    """Open the stores and plan all trials. Raises UsageError or RunError with a one-sentence message."""
    setting = Setting(
        profile,
        _sources(base.data.store),
        finetuning_store,
        _sources(finetuning_store) if finetuning_store else {},
    )
    base = replace(base, run=replace(base.run, name="", tracking_uri=resolve_uri(base.run.tracking_uri)))
    rows = ablation.rows(base, setting)
    if any(not metric.is_held_out for metric in metrics) and any(row.step is not None for row in rows):
        # The weights after these steps are scored once the run is done.
        kept = -(-base.training.steps // base.run.checkpoint_every)
        base = replace(base, run=replace(base.run, checkpoints_kept=max(kept, base.run.checkpoints_kept)))
        rows = ablation.rows(base, setting)
    return Study(name, ablation, profile, base, plan_trials(rows, seeds), metrics)


def _sources(store: str) -> dict[str, int]:
    return {source.name: source.rows for source in open_store(store).manifest.sources}


def run_study(
    study: Study,
    display: Display,
    on_progress: OnProgress,
    interruption: Interruption,
    verbose: bool = False,
) -> Report:
    """Run the trials that are not finished yet and report on all. Ray must be initialised.

    Raises RunError if MLflow does not answer at the start. A trial that fails is a line in the report.
    """
    check_capacity(study.largest, display.warn, TRIAL_CPUS)
    tracker = _parent(study, display, verbose)
    parent = tracker.reached(MLFLOW_SECONDS)
    if parent is None:
        left = tracker.finish("FAILED", timeout_s=0.5)
        raise RunError(f"an ablation needs MLflow from its start: {left}")
    records = Records(study.base.run.tracking_uri, study.experiment)
    interruption.on_interrupt(lambda: records.end_unfinished(parent, "KILLED"))
    interruption.on_interrupt(lambda: tracker.finish("KILLED", timeout_s=5.0))
    tracker.log_artifact(_write(TRIALS_FILE, json.dumps([trial.to_dict() for trial in study.trials])))

    children = Children(study.name, study.experiment, study.tags, parent, display.warn, verbose)
    trials = to_run(study.trials)
    waiting = _unfinished(trials, children, records, display, verbose)
    done = len(trials) - len(waiting)
    display.say(f"{len(waiting)} trial(s) to run" + (f", {done} finished earlier" if done else ""))
    errors = _run(waiting, children, study.base.run.output, on_progress, verbose)
    children.record_failures(waiting, errors, records)
    tracker.flush(MLFLOW_SECONDS)
    try:
        for metric in study.metrics:
            if not metric.is_held_out:
                score_trials(study.trials, metric, records, parent, display)
        report = read_report(records, parent, study.name, study.ablation, study.profile, study.metrics)
        log_report(report, records, parent, tracker)
    except RunError:
        tracker.finish("FAILED")
        raise
    unwritten = tracker.finish("FAILED" if report.failed else "FINISHED")
    if unwritten:
        display.warn(unwritten)
    return report


def _unfinished(
    trials: list[Trial], children: Children, records: Records, display: Display, verbose: bool
) -> list[Trial]:
    """Return the trials to run, and link those that were finished elsewhere."""
    waiting = []
    for trial in trials:
        open_run(trial.run, fresh=False)
        results = finished(trial.run, display, children.of(trial), verbose)
        if results is None:
            waiting.append(trial)
        elif trial.fingerprint not in records.children(children.parent):
            children.link(trial, results)
    return waiting


def _run(
    waiting: list[Trial], children: Children, output: str, on_progress: OnProgress, verbose: bool
) -> dict[str, str]:
    """Run first stages, then the trials that start from their models; returns errors by fingerprint."""
    errors: dict[str, str] = {}
    for second in (False, True):
        ready = []
        for trial in waiting:
            if (trial.first is not None) != second:
                continue
            if trial.first is not None and trial.first.fingerprint in errors:
                errors[trial.fingerprint] = f"{trial.first.label}: {errors[trial.first.fingerprint]}"
            else:
                ready.append(trial)
        if not ready:
            continue

        def show(progress: TrialProgress, ready: list[Trial] = ready) -> None:
            on_progress(ready[progress.trial], progress)

        tracked = [(trial.run, children.of(trial)) for trial in ready]
        messages = run_trials(tracked, output, show, verbose)
        errors |= {trial.fingerprint: error for trial, error in zip(ready, messages, strict=True) if error}
    return errors


def _parent(study: Study, display: Display, verbose: bool) -> Tracker:
    """Start the MLflow run of the whole study."""
    own = {trial.fingerprint for trial in study.trials if trial.seed == study.base.seed}
    identity = hashlib.sha256("".join(sorted(own)).encode()).hexdigest()
    tracked = TrackedRun(
        key=f"{study.name}-{study.profile}-{identity[:16]}",
        name=f"{study.name}, {study.profile}",
        experiment=study.experiment,
        params={"profile": study.profile, "rows": len({trial.row.name for trial in study.trials})},
        tags={
            **study.tags,
            "gte_ray.title": study.ablation.title,
            "gte_ray.question": study.ablation.question,
            "gte_ray.claim": study.ablation.claim,
            "gte_ray.store": study.trials[0].run.store.fingerprint,
            "gte_ray.command": command_line(),
        },
    )
    queue = os.path.join(tempfile.gettempdir(), f"gte_ray-{tracked.key}", QUEUE_FILE)
    return Tracker(study.base.run.tracking_uri, tracked, queue, display.warn, verbose)


def _write(name: str, text: str) -> str:
    path = Path(tempfile.mkdtemp(prefix="gte_ray-ablation-")) / name
    path.write_text(text)
    return str(path)
