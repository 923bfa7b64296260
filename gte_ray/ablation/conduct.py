"""An ablation from its rows to its report: what `ablations/run.py` calls."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from gte_ray.ablation.plots import Curve, ablation_plot
from gte_ray.ablation.records import ABLATION, CELLS_FILE, LINK, PROFILE, Child, Records
from gte_ray.ablation.report import Line, Report, markdown, table_csv, verdict
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
from gte_ray.tracking import TrackedRun, Tracker, resolve_uri

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
        return f"ablation {self.name}"


def plan(name: str, ablation: Ablation, profile: str, base: Config, seeds: int) -> Study:
    """Opens the store and lays out all trials. Raises UsageError or RunError in one sentence."""
    store = open_store(base.data.store)
    sources = {source.name: source.rows for source in store.manifest.sources}
    base = replace(base, run=replace(base.run, name="", tracking_uri=resolve_uri(base.run.tracking_uri)))
    trials, cells = expand(ablation.rows(base, Setting(profile, sources)), seeds)
    return Study(name, ablation, profile, base, trials, cells)


def conduct(
    study: Study, display: Display, on_progress: Callable[[Trial, Progress], None], interruption: Interruption
) -> Report:
    """Runs the trials that are not finished yet and reports on all. Ray must be initialised.

    Raises RunError when MLflow does not answer at the start. A trial that fails is a line of the report.
    """
    check_capacity(study.base.hardware, display.warn, TRIAL_CPUS)
    tracker = _parent(study, display)
    parent = tracker.run_id(START_SECONDS)
    if parent is None:
        left = tracker.finish("FAILED", timeout_s=0.5)
        raise RunError(f"an ablation needs MLflow from its start: {left}")
    records = Records(study.base.run.tracking_uri, study.experiment)
    interruption.on_interrupt(lambda: records.end_unfinished(parent, "KILLED"))
    interruption.on_interrupt(lambda: tracker.finish("KILLED", timeout_s=5.0))
    tracker.log_artifact(_write(CELLS_FILE, json.dumps([cell.to_dict() for cell in study.cells])))

    waiting = []
    for trial in study.trials:
        open_run(trial.run, fresh=False)
        results = finished(trial.run, display)
        if results is None:
            waiting.append(trial)
        elif trial.run.fingerprint not in records.children(parent):
            _link(study, trial, results, parent, display)
    done = len(study.trials) - len(waiting)
    display.say(f"{len(waiting)} trial(s) to run" + (f", {done} finished earlier" if done else ""))
    errors: dict[str, str] = {}
    if waiting:
        jobs = [Job(trial.run.config, _place(study, trial, parent)) for trial in waiting]
        found = run_trials(jobs, study.base.run.output, lambda p: on_progress(waiting[p.trial], p))
        errors = {trial.run.fingerprint: error for trial, error in zip(waiting, found, strict=True) if error}
        records.end_unfinished(parent, "FAILED")
    tracker.flush(START_SECONDS)
    report = read_report(records, parent, study.name, study.ablation, study.profile, errors)
    _log_report(report, records, parent, tracker)
    unwritten = tracker.finish("FAILED" if errors else "FINISHED")
    if unwritten:
        display.warn(unwritten)
    return report


def report_again(name: str, ablation: Ablation, profile: str, uri: str, display: Display) -> Report:
    """The report of the latest run of an ablation, from MLflow alone, written to it again."""
    records = Records(resolve_uri(uri), f"ablation {name}")
    parent = records.parent(name, profile)
    report = read_report(records, parent, name, ablation, profile, {})
    records.write_artifacts(parent, _files(report, _curves(report, records, parent)))
    return report


def read_report(
    records: Records, parent: str, name: str, ablation: Ablation, profile: str, errors: dict[str, str]
) -> Report:
    """The report from what MLflow holds; `errors` says why trials failed, by fingerprint."""
    cells, children = records.cells(parent), records.children(parent)
    rows = {cell.row: cell for cell in reversed(cells)}
    lines = []
    for row in dict.fromkeys(cell.row for cell in cells):
        own = [cell for cell in cells if cell.row == row]
        scores = [_scores(records, children.get(cell.fingerprint), cell) for cell in own]
        failures = [errors[cell.fingerprint] for cell in own if cell.fingerprint in errors]
        failures += [
            "failed in an earlier call"
            for cell in own
            if not errors and cell.fingerprint in children and children[cell.fingerprint].status == "FAILED"
        ]
        lines.append(
            Line(
                row,
                rows[row].x,
                rows[row].paper,
                tuple(found.get("mean") for found in scores),
                _means(scores),
                "; ".join(dict.fromkeys(failures)),
            )
        )
    return Report(name, ablation, profile, records.command(parent), tuple(lines))


def _scores(records: Records, child: Child | None, cell: Cell) -> dict[str, float]:
    """Percent by source, and their mean."""
    if child is None:
        return {}
    return {source: 100 * score for source, score in records.scores(child, cell.step).items()}


def _means(scores: Iterable[dict[str, float]]) -> dict[str, float]:
    """Each source's score averaged over the seeds that have it."""
    values: dict[str, list[float]] = {}
    for found in scores:
        for source, score in found.items():
            if source != "mean":
                values.setdefault(source, []).append(score)
    return {source: mean(found) for source, found in values.items()}


def _parent(study: Study, display: Display) -> Tracker:
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
    return Tracker(run.tracking_uri, tracked, spool, display.warn)


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


def _log_report(report: Report, records: Records, parent: str, tracker: Tracker) -> None:
    for path in _files(report, _curves(report, records, parent)):
        tracker.log_artifact(path)
    tracker.set_tags({"mlflow.note.content": markdown(report), "gte_ray.verdict": verdict(report)})
    for line in report.lines:
        if line.measured:
            tracker.log_step(0, {f"ndcg_at_10_of_row/{line.name}": mean(line.measured) / 100})


def _curves(report: Report, records: Records, parent: str) -> list[Curve]:
    """The losses of each row's first seed."""
    if not report.ablation.curves:
        return []
    children = records.children(parent)
    first = {cell.row: cell.fingerprint for cell in reversed(records.cells(parent))}
    return [
        (row, records.losses(children[fingerprint]))
        for row, fingerprint in first.items()
        if fingerprint in children
    ]


def _files(report: Report, curves: list[Curve]) -> list[str]:
    """report.md, table.csv and the plot, in a folder of their own."""
    folder = tempfile.mkdtemp(prefix="gte_ray-report-")
    texts = {"report.md": markdown(report), "table.csv": table_csv(report)}
    for name, text in texts.items():
        (Path(folder) / name).write_text(text)
    plots = ablation_plot(report, curves, os.path.join(folder, "plot"))
    return [*(os.path.join(folder, name) for name in texts), *plots]


def _write(name: str, text: str) -> str:
    path = Path(tempfile.mkdtemp(prefix="gte_ray-ablation-")) / name
    path.write_text(text)
    return str(path)
