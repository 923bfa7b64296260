"""Read the results of a study from MLflow, and write their report back."""

import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean

from gte_ray.ablation.figure import Curve, ablation_plot
from gte_ray.ablation.metric import Metric
from gte_ray.ablation.records import METRIC, Records, no_parent
from gte_ray.ablation.report import Report, Result, html, markdown, table_csv, verdict
from gte_ray.ablation.study import Ablation
from gte_ray.tracking.server import resolve_uri
from gte_ray.tracking.tracker import Tracker


def report_again(name: str, ablation: Ablation, profile: str, uri: str, metrics: Sequence[Metric]) -> Report:
    """Rebuild the report of an ablation's latest run from MLflow alone, and write it back.

    By the metrics of the report that is there if none are given. Raises RunError if there is no run.
    """
    uri = resolve_uri(uri)
    if uri.startswith("sqlite:///") and not os.path.exists(uri.removeprefix("sqlite:///")):
        raise no_parent(name, profile)  # MLflow would make an empty database
    records = Records(uri, experiment_of(name))
    parent = records.parent(name, profile)
    report = read_report(records, parent, name, ablation, profile, metrics or records.metrics(parent))
    records.write(parent, _files(report, _curves(report, records, parent)), _tags(report))
    return report


def experiment_of(name: str) -> str:
    """Return the name of an ablation's experiment in MLflow."""
    return f"ablation {name}"


def read_report(
    records: Records, parent: str, name: str, ablation: Ablation, profile: str, metrics: Sequence[Metric]
) -> Report:
    """Build the report from the records in MLflow: by the first metric, with those by the others in it."""
    command = records.command(parent)
    first, *others = (
        Report(name, ablation, profile, command, _results(records, parent, metric), metric)
        for metric in metrics
    )
    return replace(first, others=tuple(others), experiment_id=records.experiment_id or "", parent=parent)


def _results(records: Records, parent: str, metric: Metric) -> tuple[Result, ...]:
    children = records.children(parent)
    results = []
    for result in records.results(parent):
        runs = [children.get(fingerprint) for fingerprint in result.fingerprints]
        scores = [{} if run is None else _percent(records.scores(run, result.step, metric)) for run in runs]
        errors = [records.error(run) for run in runs if run is not None]
        results.append(
            replace(
                result,
                scores=tuple(by_part.get("mean") for by_part in scores),
                by_part=_means(scores, metric),
                failure="; ".join(dict.fromkeys(error for error in errors if error)),
            )
        )
    return tuple(results)


def _percent(scores: dict[str, float]) -> dict[str, float]:
    return {source: 100 * score for source, score in scores.items()}


def _means(scores: Iterable[dict[str, float]], metric: Metric) -> dict[str, float]:
    """Return the score of each part averaged over the seeds that have it."""
    values: dict[str, list[float]] = {}
    for by_part in scores:
        for part, score in by_part.items():
            if part not in ("mean", metric.mean.removeprefix(f"{metric.parts}/")):
                values.setdefault(part, []).append(score)
    return {part: mean(of_seeds) for part, of_seeds in values.items()}


def log_report(report: Report, records: Records, parent: str, tracker: Tracker) -> None:
    """Log the report's files, and its text as the parent's description."""
    for path in _files(report, _curves(report, records, parent)):
        tracker.log_artifact(path)
    tracker.set_tags(_tags(report))


def _tags(report: Report) -> dict[str, str]:
    """Return the parent's description, its verdict and what it is by as tags."""
    return {
        "mlflow.note.content": markdown(report),
        "gte_ray.verdict": verdict(report),
        METRIC: json.dumps([asdict(one.metric) for one in (report, *report.others)]),
    }


def _curves(report: Report, records: Records, parent: str) -> list[Curve]:
    """Return the losses of each row's first seed."""
    if not report.ablation.curves:
        return []
    children = records.children(parent)
    return [
        (result.name, records.losses(children[result.fingerprints[0]]))
        for result in report.results
        if result.fingerprints[0] in children
    ]


def _files(report: Report, curves: list[Curve]) -> list[str]:
    """Write report.md, report.html, table.csv and the plot to a new folder; returns their paths."""
    folder = tempfile.mkdtemp(prefix="gte_ray-report-")
    plots = ablation_plot(report, curves, os.path.join(folder, "plot"))
    (svg,) = (Path(path).read_text(encoding="utf-8") for path in plots if path.endswith(".svg"))
    texts = {"report.md": markdown(report), "report.html": html(report, svg), "table.csv": table_csv(report)}
    for name, text in texts.items():
        (Path(folder) / name).write_text(text, encoding="utf-8")
    return [*(os.path.join(folder, name) for name in texts), *plots]
