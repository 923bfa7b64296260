"""Writes runs to MLflow in the background, so that training never waits for it.

`Tracker` lives in the driver. Its methods put a record into a queue and return. A thread of its own imports
MLflow (seconds), finds or creates the run, and writes records in groups. An unreachable server costs one
warning: the queue grows, the thread retries, and the next start writes what is left at the end. Files have a
queue and a thread of their own, so metrics never wait for an artifact store.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from gte_ray.runtime.uri import without_password
from gte_ray.tracking.artifacts import LONGEST_PAUSE_S, ArtifactWriter
from gte_ray.tracking.keys import Keys
from gte_ray.tracking.queue import Record, RecordQueue, artifact_queue, halves_of
from gte_ray.tracking.server import reason, resolve_uri

if TYPE_CHECKING:
    from gte_ray.tracking.mlflow_run import MlflowRun

Status = Literal["FINISHED", "FAILED", "KILLED"]

LINGER_S = 0.3
"""Seconds to wait for more records before a group is written: any call takes about 10 ms, however small."""
GROUP = 500
"""Most records that are written together."""


@dataclass(frozen=True)
class TrackedRun:
    """Identity and description of one MLflow run."""

    key: str
    """Unique name. The same key continues the same MLflow run."""
    name: str
    """Display name."""
    experiment: str
    params: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    parent_run_id: str | None = None
    """MLflow id of the run under which this one is shown."""


class Tracker:
    """Writes one run to MLflow from a thread of its own. Only methods with a `timeout_s` wait."""

    def __init__(
        self, uri: str, run: TrackedRun, queue: str, warn: Callable[[str], None], verbose: bool = False
    ) -> None:
        """`queue` is a local file in the run's folder. Raises UsageError for an invalid tracking URI.

        `warn` is called with one sentence, mostly by the thread. `verbose` keeps MLflow's own log messages.
        """
        self.uri = resolve_uri(uri)
        self._run, self._warn, self._verbose = run, warn, verbose
        self._queue, self._keys = RecordQueue(queue), Keys()
        self._artifacts = ArtifactWriter(artifact_queue(queue), self._store)
        self._mlflow: MlflowRun | None = None
        self._opened = threading.Event()
        self._written = threading.Condition()
        self._hurry = threading.Event()
        self._given_up = threading.Event()
        self._status: Status | None = None
        self._warned = False
        self._last_error = ""
        self.refused = 0
        """Number of values that MLflow rejected for good."""
        if self._queue.disk_error is not None:
            warn(f"{queue}: what MLflow has not yet taken cannot be kept there ({self._queue.disk_error})")
        self.log_params(run.params)
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def log_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Logs the metrics of a step, except any that MLflow already has at this or a later step."""
        self._add("metrics", self._keys.keyed({k: float(v) for k, v in metrics.items()}), step)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Logs parameters. One that MLflow has with another value stays, and the new value becomes a tag."""
        self._add("params", self._keys.keyed({k: str(v) for k, v in params.items()}))

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        self._add("tags", self._keys.keyed({k: str(v) for k, v in tags.items()}))

    def log_artifact(self, path: str, folder: str = "") -> None:
        """Queues a file, or a folder with its contents, for copying to `folder` of the run's artifacts."""
        self._add("artifact", {"path": os.path.abspath(path), "folder": folder})

    def log_dataset(self, name: str, digest: str, source: str, profile: Mapping[str, Any]) -> None:
        """Logs what the run trains on. `source` is a URI, `profile` what there is to say of its size."""
        values = {"name": name, "digest": digest, "source": source, "profile": json.dumps(profile)}
        self._add("dataset", values)

    def log_model(self, name: str, folder: str, step: int, registered: str = "") -> None:
        """Logs a model that the run made after `step` steps; metrics of this step from now on are its own too.

        With a name as `registered`, it becomes a version of that model in MLflow's registry, once.
        """
        self._add("model", {"name": name, "folder": folder, "registered": registered}, step)

    @property
    def experiment_id(self) -> str:
        """MLflow's id of the experiment; empty until the run is reached."""
        return self._mlflow.experiment_id if self._mlflow is not None else ""

    def run_id(self, timeout_s: float = 0.0) -> str | None:
        """MLflow's id of the run, or None if MLflow is not reached within `timeout_s`."""
        self._opened.wait(timeout_s)
        return self._mlflow.run_id if self._mlflow is not None else None

    def reached(self, timeout_s: float) -> str | None:
        """Waits for MLflow's run id. Returns None at the first failure, which training would survive."""
        deadline = time.monotonic() + timeout_s
        while not (self._warned or self._opened.wait(0.1)) and time.monotonic() < deadline:
            pass
        return self.run_id()

    def flush(self, timeout_s: float) -> bool:
        """Waits until everything is written and stored. Returns whether it is."""
        deadline = time.monotonic() + timeout_s
        self._hurry.set()
        with self._written:
            written = self._written.wait_for(
                lambda: self._opened.is_set() and not len(self._queue), timeout_s
            )
        self._hurry.clear()
        return self._artifacts.flush(deadline) and written

    def finish(self, status: Status = "FINISHED", timeout_s: float = 20.0) -> str:
        """Writes what is left and closes the run. Returns a sentence on what could not be written, or "".

        Returns after `timeout_s` at the latest. What could not be written or stored stays in the queues.
        """
        deadline = time.monotonic() + timeout_s
        self._status = status
        self._hurry.set()
        with self._queue.wakes:
            self._queue.wakes.notify_all()
        self._thread.join(timeout_s)
        closed = not self._thread.is_alive()
        self._given_up.set()
        left = len(self._queue)
        self._queue.close()
        files_left = len(self._artifacts)
        notes = self._artifacts.finish(max(deadline - time.monotonic(), 0.0) if closed else 0.0)
        if not closed:
            left += files_left
            path, error = self._queue.path, self._queue.disk_error
            kept = f"kept in {path} and are written when the same run is started again"
            where = f"lost in part, as {path} could not be either ({error})" if error else kept
            return (
                f"MLflow at {without_password(self.uri)} could not be written to "
                f"({self._last_error or 'no answer'}): {left} records are {where}"
            )
        if self.refused:
            notes.insert(0, f"MLflow refused {self.refused} value(s), which are lost ({self._last_error})")
        return "; ".join(notes)

    def _store(self, record: Record) -> None:
        """Called in the artifact thread."""
        mlflow = self._mlflow
        if mlflow is None:
            raise ConnectionError("MLflow has not been reached")
        mlflow.store(str(record.values["path"]), str(record.values["folder"]) or None)

    def _add(self, kind: Any, values: dict[str, Any], step: int = 0) -> None:
        if values:
            self._queue.add(Record(kind, values, step, time.time_ns() // 1_000_000))

    def _work(self) -> None:
        pause = 1.0
        while not self._given_up.is_set():
            try:
                if self._mlflow is None:
                    self._mlflow = self._open()
                    self._opened.set()
                if self._write_group(self._mlflow):
                    return
                pause = 1.0
            except Exception as error:  # Training survives any error of network, server or database.
                self._away(error)
                self._given_up.wait(min(pause, 1.0) if self._hurry.is_set() else pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)

    def _open(self) -> "MlflowRun":
        from gte_ray.tracking.mlflow_run import MlflowRun

        if self.uri.startswith("sqlite:///"):
            os.makedirs(os.path.dirname(self.uri.removeprefix("sqlite:///")), exist_ok=True)
        run = self._run
        tags = self._keys.keyed({k: str(v) for k, v in run.tags.items()})
        if run.parent_run_id:
            tags["mlflow.parentRunId"] = run.parent_run_id
        return MlflowRun(
            self.uri, run.experiment, run.key, run.name, tags, warn=self._warn, verbose=self._verbose
        )

    def _away(self, error: Exception) -> None:
        from gte_ray.tracking.mlflow_run import is_gone

        if is_gone(error):
            self._mlflow = None  # The database was replaced: the run is created there again.
        self._last_error = reason(error)
        if not self._warned:
            self._warned = True
            self._warn(
                f"MLflow at {without_password(self.uri)} cannot be written to ({self._last_error}); "
                "training goes on, and what is logged is written later"
            )

    def _write_group(self, mlflow: "MlflowRun") -> bool:
        """Waits for records and writes them. Returns True once the run is finished and closed."""
        with self._queue.wakes:
            self._queue.wakes.wait_for(lambda: len(self._queue) > 0 or self._status is not None)
        if self._status is None:
            self._hurry.wait(LINGER_S)
        group = self._queue.first(GROUP)
        if group:
            for record in group:
                if record.kind == "artifact":
                    self._artifacts.add(record)
            self._write(mlflow, [record for record in group if record.kind != "artifact"])
            self._queue.done(len(group))
        finished = self._status is not None and not len(self._queue)
        if finished:
            mlflow.close(self._status or "FINISHED")
        with self._written:
            self._written.notify_all()
        return finished

    def _write(self, mlflow: "MlflowRun", group: list[Record]) -> None:
        """Writes the group, except for single values that MLflow rejects."""
        from gte_ray.tracking.mlflow_run import is_refusal

        try:
            mlflow.write(group)
        except Exception as error:
            if not is_refusal(error):
                raise
            halves = halves_of(group)
            for half in halves:
                self._write(mlflow, half)
            if not halves:
                self.refused += 1
                self._last_error = reason(error)
