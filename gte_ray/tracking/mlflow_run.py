"""One run in MLflow, through its client. The only importer of MLflow; `tracking` imports it in its thread."""

import hashlib
import itertools
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

# MLflow's own way is to try for four minutes before it reports that a server is away. All of these give way
# to what the user has set, and have to be there before the import.
for _name, _value in {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}.items():
    os.environ.setdefault(_name, _value)

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import (  # noqa: E402
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModel,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    RunTag,
)
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.tracking.context.registry import resolve_tags  # noqa: E402

from gte_ray.tracking.queue import Record  # noqa: E402

__all__ = ["MlflowClient", "MlflowRun", "is_gone", "is_refusal", "quoted"]

RUN_TAG = "gte_ray.run"
"""The tag by which a run is found again."""
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Makes MLflow's pages show training runs rather than traces of language models."""
METRICS_PER_CALL, ENTRIES_PER_CALL = 1_000, 100
"""MLflow's limits on the metrics of one call, and on its parameters and its tags."""
NO_SUCH_CALL = ("ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED", "NOT_FOUND")
"""What a server answers that is too old for a call."""
VALUE_LENGTH = 6_000
"""Characters of the longest parameter that MLflow takes; a tag may have some more, of at most 8,000 bytes."""


def is_refusal(error: Exception) -> bool:
    """Whether trying again is of no use: MLflow was reached and does not take the content."""
    return isinstance(error, MlflowException) and error.error_code in (
        "INVALID_PARAMETER_VALUE",
        "BAD_REQUEST",
        "INVALID_STATE",
    )


def is_gone(error: Exception) -> bool:
    """Whether MLflow answers, but does not know the run (any more)."""
    return isinstance(error, MlflowException) and error.error_code == "RESOURCE_DOES_NOT_EXIST"


def quoted(value: str) -> str:
    """`value` in a search of MLflow, which has no way to escape a quote."""
    return f'"{value}"' if "'" in value else f"'{value}'"


class MlflowRun:
    """A run that MLflow has, and what it already holds of it."""

    def __init__(
        self,
        uri: str,
        experiment: str,
        key: str,
        name: str,
        tags: Mapping[str, str],
        *,
        warn: Callable[[str], None],
        verbose: bool,
    ) -> None:
        """Finds the run tagged with `key` or makes it, and marks it as running."""
        if not verbose:
            for noisy in ("mlflow", "alembic", "urllib3.connectionpool", "git"):
                logging.getLogger(noisy).setLevel(logging.ERROR)
        self._client = MlflowClient(uri)
        self._warn = warn
        self.experiment_id = experiment_id = self._experiment(uri, experiment, warn)
        key = key.replace('"', "_") if "'" in key else key
        all_tags = resolve_tags({**tags, RUN_TAG: key})
        runs = self._client.search_runs(
            [experiment_id], f"tags.`{RUN_TAG}` = {quoted(key)}", order_by=["start_time ASC"], max_results=1
        )
        run = runs[0] if runs else self._client.create_run(experiment_id, tags=all_tags, run_name=name)
        self.run_id: str = run.info.run_id
        self._last_steps = {metric.key: metric.step for metric in run.data.to_proto().metrics}
        self._params = dict(run.data.params)
        self._models: dict[int, str] = {}
        """MLflow's id of the model that was made after a number of steps."""
        if runs:
            self._client.update_run(self.run_id, status="RUNNING", name=name)
            self._log_tags(all_tags)

    def write(self, group: list[Record]) -> None:
        """Writes records, none of an artifact, in order; writing one again changes nothing."""
        for kind, records in itertools.groupby(group, key=lambda record: record.kind):
            if kind == "metrics":
                self._log_metrics(list(records))
                continue
            for record in records:
                values = {key: str(value) for key, value in record.values.items()}
                if kind == "params":
                    self._log_params(values)
                elif kind == "tags":
                    self._log_tags(values)
                elif kind == "dataset":
                    self._log_dataset(values)
                else:
                    self._log_model(values, record.step)

    def store(self, path: str, folder: str | None) -> None:
        """Copies a file, or a folder with all that is in it, to `folder` of the artifacts."""
        if os.path.isdir(path):
            self._client.log_artifacts(self.run_id, path, folder)
        else:
            self._client.log_artifact(self.run_id, path, folder)

    def close(self, status: str) -> None:
        self._client.set_terminated(self.run_id, status)

    def _experiment(self, uri: str, name: str, warn: Callable[[str], None]) -> str:
        """Id of the experiment, made where there is none."""
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            # For a database, artifacts go beside it; MLflow's own default is the folder one happens to be in.
            folder = os.path.dirname(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else ""
            if not uri.startswith("http") and not folder:
                folder = os.getcwd()
            location = os.path.join(folder, "mlartifacts", _folder_name(name)) if folder else None
            try:
                return self._client.create_experiment(name, artifact_location=location, tags=EXPERIMENT_TAGS)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                experiment = self._client.get_experiment_by_name(name)  # Another process was faster.
                assert experiment is not None
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
            warn(f"MLflow's experiment {name} had been deleted and is restored")
        return experiment.experiment_id

    def _log_metrics(self, records: list[Record]) -> None:
        """Of each metric only steps later than the last that MLflow has."""
        last, metrics = dict(self._last_steps), []
        for record in records:
            for key, value in record.values.items():
                if record.step > last.get(key, -1):
                    last[key] = record.step
                    model = self._models.get(record.step)
                    metrics.append(Metric(key, float(value), record.time_ms, record.step, model_id=model))
        for start in range(0, len(metrics), METRICS_PER_CALL):
            self._client.log_batch(self.run_id, metrics=metrics[start : start + METRICS_PER_CALL])
        self._last_steps = last

    def _log_dataset(self, values: dict[str, str]) -> None:
        scheme, separator, _ = values["source"].partition("://")
        kind, source = scheme if separator else "local", json.dumps({"uri": values["source"]})
        dataset = Dataset(values["name"][:500], values["digest"], kind, source, profile=values["profile"])
        with self._told_if_too_old("datasets"):
            given = DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
            self._client.log_inputs(self.run_id, [given])

    def _log_model(self, values: dict[str, str], step: int) -> None:
        """Finds or makes the run's model of this name, as an output of the run."""
        name = re.sub(r"[/:.%\"']", "-", values["name"]) or "model"  # what MLflow refuses
        with self._told_if_too_old("models"):
            where = f"source_run_id = '{self.run_id}'"
            made = self._client.search_logged_models([self.experiment_id], where)
            model = next((model for model in made if model.name == name), None)
            if model is None:
                tags = {"gte_ray.folder": values["folder"]}
                model = self._client.create_logged_model(
                    self.experiment_id, name, self.run_id, tags, model_type="text embedding"
                )
            if model.status != LoggedModelStatus.READY:
                self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
            outputs = self._client.get_run(self.run_id).outputs
            if all(
                output.model_id != model.model_id for output in (outputs.model_outputs if outputs else ())
            ):
                self._client.log_outputs(self.run_id, [LoggedModelOutput(model.model_id, step)])
            self._models[step] = model.model_id
        if values.get("registered"):
            with self._told_if_too_old("registered models"):
                self._register(values["registered"], model, values["folder"])

    def _register(self, name: str, model: LoggedModel, folder: str) -> None:
        """Makes the model a version of that of the name in the registry, unless it is one."""
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        made = self._client.search_model_versions(f"run_id = '{self.run_id}'")
        if all(version.name != name for version in made):
            tags, place = {"gte_ray.folder": folder}, model.artifact_location
            self._client.create_model_version(name, place, self.run_id, tags, model_id=model.model_id)

    @contextmanager
    def _told_if_too_old(self, what: str) -> Iterator[None]:
        """A server that does not know a call costs a warning, and nothing else."""
        try:
            yield
        except MlflowException as error:
            if error.error_code not in NO_SUCH_CALL:
                raise
            self._warn(f"MLflow's server is too old for {what} and shows none; the run itself is there")

    def _log_params(self, values: dict[str, str]) -> None:
        """Parameters never change in MLflow: one that is there with another value becomes a tag."""
        values = {key: value[:VALUE_LENGTH] for key, value in values.items()}
        for chunk in _chunks({k: v for k, v in values.items() if k not in self._params}):
            self._client.log_batch(self.run_id, params=[Param(k, v) for k, v in chunk])
            self._params |= dict(chunk)
        self._log_tags({k: v for k, v in values.items() if v != self._params[k]})

    def _log_tags(self, values: dict[str, Any]) -> None:
        for chunk in _chunks(values):
            tags = [RunTag(k, str(v).encode()[:VALUE_LENGTH].decode(errors="ignore")) for k, v in chunk]
            self._client.log_batch(self.run_id, tags=tags)


def _folder_name(experiment: str) -> str:
    """`experiment` where that is a plain name of one folder, else one that no other experiment has."""
    if re.fullmatch(r"\w[\w .-]{0,100}", experiment):
        return experiment
    digest = hashlib.sha256(experiment.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', experiment)[:100].strip('-')}-{digest}"


def _chunks(values: dict[str, Any]) -> Iterator[list[tuple[str, Any]]]:
    entries = list(values.items())
    for start in range(0, len(entries), ENTRIES_PER_CALL):
        yield entries[start : start + ENTRIES_PER_CALL]
