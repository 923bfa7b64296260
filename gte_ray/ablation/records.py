"""The records of an ablation in MLflow: the parent run, its children, their scores."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gte_ray.ablation.metric import HELD_OUT_PAIRS, Metric
from gte_ray.ablation.report import Result
from gte_ray.config.typed import read
from gte_ray.errors import RunError
from gte_ray.runtime.uri import without_password
from gte_ray.tracking.mlflow_run import MlflowClient, quoted

ABLATION, PROFILE = "gte_ray.ablation", "gte_ray.profile"
"""Tags on parent and children."""
FINGERPRINT, LINK, ERROR = "gte_ray.fingerprint", "gte_ray.linked_run", "gte_ray.error"
"""Tags on children: fingerprint of the computation; run that a linked child refers to; cause of failure."""
METRIC = "gte_ray.metric"
"""Tag on parents: the metrics of the last report; of one metric alone in older versions."""
TRIALS_FILE = "cells.json"
"""Artifact of the parent: the data of each trial in its table."""


class _Client:
    """MLflow's client. Its failures become RunErrors: what was trained is not lost with them."""

    def __init__(self, uri: str):
        self.uri, self.client = uri, MlflowClient(uri)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)

        def call(*arguments: Any, **named: Any) -> Any:
            try:
                return method(*arguments, **named)
            except Exception as error:  # any error of the network, server or database
                reason = " ".join(str(error).split())[:200]
                raise RunError(
                    f"MLflow at {without_password(self.uri)} does not answer ({reason}); the same command goes on "
                    "from what is done"
                ) from error

        return call


def no_parent(name: str, profile: str) -> RunError:
    return RunError(
        f"MLflow has no run of ablation {name} with profile {profile}: python ablations/run.py {name} makes one"
    )


class Records:
    """Reads one ablation's experiment in MLflow, and writes the little that its report needs."""

    def __init__(self, uri: str, experiment: str):
        """Raises RunError if MLflow cannot be read."""
        self.client: Any = _Client(uri)
        existing = self.client.get_experiment_by_name(experiment)
        self.experiment_id = None if existing is None else existing.experiment_id

    def parent(self, name: str, profile: str) -> str:
        """Return the id of the latest parent run; raises RunError if there is none."""
        where = f"tags.`{ABLATION}` = {quoted(name)} and tags.`{PROFILE}` = {quoted(profile)}"
        for run in self._search(where):
            if "mlflow.parentRunId" not in run.data.tags:
                return run.info.run_id
        raise no_parent(name, profile)

    def results(self, parent: str) -> list[Result]:
        """Return the rows of the parent's table with the data of their trials, without scores."""
        with tempfile.TemporaryDirectory() as folder:
            path = self.client.download_artifacts(parent, TRIALS_FILE, folder)
            trials = json.loads(Path(path).read_text())
        rows: dict[str, Result] = {}
        for trial in trials:
            row = rows.get(trial["row"])
            if row is None:
                rows[trial["row"]] = Result(
                    trial["row"],
                    trial["x"],
                    trial["paper"],
                    trial["step"],
                    (trial["fingerprint"],),
                    trial["series"],
                    paper_parts=trial.get("paper_parts", {}),
                )
            else:
                rows[row.name] = replace(row, fingerprints=(*row.fingerprints, trial["fingerprint"]))
        return list(rows.values())

    def children(self, parent: str) -> dict[str, Any]:
        """Return the parent's child runs by fingerprint; the latest if there are several."""
        runs = {}
        for run in reversed(self._search(f"tags.`mlflow.parentRunId` = '{parent}'")):
            if FINGERPRINT in run.data.tags:
                runs[run.data.tags[FINGERPRINT]] = run
        return runs

    def error(self, child: Any) -> str:
        """Return why a child failed; empty if it did not."""
        return child.data.tags.get(ERROR, "no reason is known") if child.info.status == "FAILED" else ""

    def scores(self, child: Any, step: int, metric: Metric) -> dict[str, float]:
        """Return a child's scores after `step` steps by part of the metric, and their mean; empty if there is none."""
        prefix = f"{metric.parts}/"
        names = {key: key.removeprefix(prefix) for key in child.data.metrics if key.startswith(prefix)}
        scores = {}
        for key, name in {**names, metric.mean: "mean"}.items():
            for value in self.client.get_metric_history(child.info.run_id, key):
                if value.step == step:
                    scores[name] = value.value
        return scores

    def log(self, run_id: str, step: int, values: Mapping[str, float]) -> None:
        """Log metrics of a run; the last one completes them."""
        for name, value in values.items():
            self.client.log_metric(run_id, name, value, step=step)

    def losses(self, child: Any) -> list[tuple[int, float]]:
        """Return steps and training losses; for a linked child, those of the run that it refers to."""
        trained = child.data.tags.get(LINK, child.info.run_id)
        history = self.client.get_metric_history(trained, "loss")
        return sorted((metric.step, metric.value) for metric in history)

    def metrics(self, parent: str) -> tuple[Metric, ...]:
        """Return the metrics of the parent's last report."""
        text = self.client.get_run(parent).data.tags.get(METRIC)
        if not text:
            return (HELD_OUT_PAIRS,)
        found = json.loads(text)
        return tuple(read(Metric, one) for one in (found if isinstance(found, list) else [found]))

    def command(self, parent: str) -> str:
        """Return the command that made the parent."""
        return self.client.get_run(parent).data.tags.get("gte_ray.command", "")

    def write(self, parent: str, paths: Sequence[str], tags: Mapping[str, str]) -> None:
        """Log files as artifacts of the parent, and set its tags."""
        for path in paths:
            self.client.log_artifact(parent, path)
        for name, value in tags.items():
            self.client.set_tag(parent, name, value)

    def end_unfinished(self, parent: str, status: str) -> None:
        """Set the status of children that are still marked as running."""
        for child in self.children(parent).values():
            if child.info.status == "RUNNING":
                self.client.set_terminated(child.info.run_id, status)

    def end_failed(self, parent: str, errors: Mapping[str, str]) -> None:
        """Mark children as failed; `errors` has the reasons by fingerprint."""
        for fingerprint, child in self.children(parent).items():
            if fingerprint in errors:
                self.client.set_tag(child.info.run_id, ERROR, errors[fingerprint])
                self.client.set_terminated(child.info.run_id, "FAILED")

    def _search(self, where: str) -> Sequence[Any]:
        """Return matching runs of the experiment, latest first."""
        if self.experiment_id is None:
            return []
        return self.client.search_runs([self.experiment_id], where, order_by=["start_time DESC"])
