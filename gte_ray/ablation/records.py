"""What MLflow holds of an ablation: the parent run, its children, their scores."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gte_ray.ablation.trials import Cell
from gte_ray.errors import RunError
from gte_ray.mlflow_run import MlflowClient
from gte_ray.tracking_uri import without_password

ABLATION, PROFILE = "gte_ray.ablation", "gte_ray.profile"
"""Tags of parent and children."""
FINGERPRINT, LINK, ERROR = "gte_ray.fingerprint", "gte_ray.linked_run", "gte_ray.error"
"""Tags of children: of what was computed; the run that a linked child stands for; why one failed."""
CELLS_FILE = "cells.json"
"""Artifact of the parent: the cells of the table."""
SCORE = "ndcg_at_10"
MEAN = f"{SCORE}/mean"


@dataclass(frozen=True)
class Child:
    """One trial as MLflow shows it."""

    run_id: str
    source_run: str
    """The run that was trained: itself, or the one that it links to."""
    fingerprint: str
    status: str
    error: str
    """Why it failed, empty where it did not."""


class _Client:
    """MLflow's client, whose failures are RunErrors: what was trained is not lost with them."""

    def __init__(self, uri: str):
        self.uri, self.client = uri, MlflowClient(uri)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)

        def call(*arguments: Any, **named: Any) -> Any:
            try:
                return method(*arguments, **named)
            except Exception as error:  # whatever a network, a server or a database throws
                reason = " ".join(str(error).split())[:200]
                raise RunError(
                    f"MLflow at {without_password(self.uri)} does not answer ({reason}); the same command goes on "
                    "from what is done"
                ) from error

        return call


class Records:
    """One ablation's experiment in MLflow, read, and little else."""

    def __init__(self, uri: str, experiment: str):
        """Raises RunError where MLflow cannot be read."""
        self.client: Any = _Client(uri)
        found = self.client.get_experiment_by_name(experiment)
        self.experiment_id = None if found is None else found.experiment_id

    def parent(self, name: str, profile: str) -> str:
        """Id of the latest parent run; RunError where there is none."""
        where = f"tags.`{ABLATION}` = '{name}' and tags.`{PROFILE}` = '{profile}'"
        for run in self._search(where):
            if "mlflow.parentRunId" not in run.data.tags:
                return run.info.run_id
        raise RunError(
            f"MLflow has no run of ablation {name} with profile {profile}: python ablations/run.py {name} makes one"
        )

    def cells(self, parent: str) -> list[Cell]:
        """The cells of the parent's table."""
        with tempfile.TemporaryDirectory() as folder:
            path = self.client.download_artifacts(parent, CELLS_FILE, folder)
            return [Cell(**cell) for cell in json.loads(Path(path).read_text())]

    def children(self, parent: str) -> dict[str, Child]:
        """The parent's trials by fingerprint; of several the latest."""
        found = {}
        for run in reversed(self._search(f"tags.`mlflow.parentRunId` = '{parent}'")):
            tags = run.data.tags
            if FINGERPRINT in tags:
                source = tags.get(LINK, run.info.run_id)
                error = tags.get(ERROR, "no reason is known") if run.info.status == "FAILED" else ""
                found[tags[FINGERPRINT]] = Child(
                    run.info.run_id, source, tags[FINGERPRINT], run.info.status, error
                )
        return found

    def scores(self, child: Child, step: int) -> dict[str, float]:
        """Held-out nDCG@10 after `step` steps by source, and their mean; empty where it was not scored."""
        keys = [key for key in self.client.get_run(child.run_id).data.metrics if key.startswith(f"{SCORE}/")]
        found = {}
        for key in keys:
            for metric in self.client.get_metric_history(child.run_id, key):
                if metric.step == step:
                    found[key.removeprefix(f"{SCORE}/")] = metric.value
        return found

    def losses(self, child: Child) -> list[tuple[int, float]]:
        """Steps and training losses."""
        history = self.client.get_metric_history(child.source_run, "loss")
        return sorted((metric.step, metric.value) for metric in history)

    def command(self, parent: str) -> str:
        """The command that made the parent."""
        return self.client.get_run(parent).data.tags.get("gte_ray.command", "")

    def write(self, parent: str, paths: Sequence[str], tags: Mapping[str, str]) -> None:
        """Files into the parent's artifacts, and tags of it."""
        for path in paths:
            self.client.log_artifact(parent, path)
        for name, value in tags.items():
            self.client.set_tag(parent, name, value)

    def end_unfinished(self, parent: str, status: str) -> None:
        """Gives the children that still count as running another status."""
        for child in self.children(parent).values():
            if child.status == "RUNNING":
                self.client.set_terminated(child.run_id, status)

    def end_failed(self, parent: str, errors: Mapping[str, str]) -> None:
        """Marks children as failed; `errors` says why, by fingerprint."""
        for child in self.children(parent).values():
            if child.fingerprint in errors:
                self.client.set_tag(child.run_id, ERROR, errors[child.fingerprint])
                self.client.set_terminated(child.run_id, "FAILED")

    def _search(self, where: str) -> Sequence[Any]:
        """Runs of the experiment, the latest first."""
        if self.experiment_id is None:
            return []
        return self.client.search_runs([self.experiment_id], where, order_by=["start_time DESC"])
