"""What MLflow holds of an ablation: the parent run, its children, their scores."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gte_ray.ablation.report import Result
from gte_ray.errors import RunError
from gte_ray.runtime.uri import without_password
from gte_ray.tracking.mlflow_run import MlflowClient

ABLATION, PROFILE = "gte_ray.ablation", "gte_ray.profile"
"""Tags of parent and children."""
FINGERPRINT, LINK, ERROR = "gte_ray.fingerprint", "gte_ray.linked_run", "gte_ray.error"
"""Tags of children: of what was computed; the run that a linked child stands for; why one failed."""
TRIALS_FILE = "cells.json"
"""Artifact of the parent: what its table has of each trial."""
SCORE = "ndcg_at_10"
MEAN = f"{SCORE}/mean"


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

    def results(self, parent: str) -> list[Result]:
        """The rows of the parent's table, with what is known of their trials before any score."""
        with tempfile.TemporaryDirectory() as folder:
            path = self.client.download_artifacts(parent, TRIALS_FILE, folder)
            trials = json.loads(Path(path).read_text())
        rows: dict[str, Result] = {}
        for trial in trials:
            known = rows.get(trial["row"])
            if known is None:
                rows[trial["row"]] = Result(
                    trial["row"],
                    trial["x"],
                    trial["paper"],
                    trial["step"],
                    (trial["fingerprint"],),
                    trial["series"],
                )
            else:
                rows[known.name] = replace(known, fingerprints=(*known.fingerprints, trial["fingerprint"]))
        return list(rows.values())

    def children(self, parent: str) -> dict[str, Any]:
        """MLflow's runs below the parent by fingerprint; of several the latest."""
        found = {}
        for run in reversed(self._search(f"tags.`mlflow.parentRunId` = '{parent}'")):
            if FINGERPRINT in run.data.tags:
                found[run.data.tags[FINGERPRINT]] = run
        return found

    def error(self, child: Any) -> str:
        """Why a child failed, empty where it did not."""
        return child.data.tags.get(ERROR, "no reason is known") if child.info.status == "FAILED" else ""

    def scores(self, child: Any, step: int) -> dict[str, float]:
        """Held-out nDCG@10 after `step` steps by source, and their mean; empty where it was not scored."""
        keys = [key for key in child.data.metrics if key.startswith(f"{SCORE}/")]
        found = {}
        for key in keys:
            for metric in self.client.get_metric_history(child.info.run_id, key):
                if metric.step == step:
                    found[key.removeprefix(f"{SCORE}/")] = metric.value
        return found

    def losses(self, child: Any) -> list[tuple[int, float]]:
        """Steps and training losses; of the run that a linked child stands for."""
        trained = child.data.tags.get(LINK, child.info.run_id)
        history = self.client.get_metric_history(trained, "loss")
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
            if child.info.status == "RUNNING":
                self.client.set_terminated(child.info.run_id, status)

    def end_failed(self, parent: str, errors: Mapping[str, str]) -> None:
        """Marks children as failed; `errors` says why, by fingerprint."""
        for fingerprint, child in self.children(parent).items():
            if fingerprint in errors:
                self.client.set_tag(child.info.run_id, ERROR, errors[fingerprint])
                self.client.set_terminated(child.info.run_id, "FAILED")

    def _search(self, where: str) -> Sequence[Any]:
        """Runs of the experiment, the latest first."""
        if self.experiment_id is None:
            return []
        return self.client.search_runs([self.experiment_id], where, order_by=["start_time DESC"])
