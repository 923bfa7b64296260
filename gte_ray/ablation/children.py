"""The MLflow runs of an ablation's trials, children of the run of the whole table."""

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gte_ray.ablation.records import LINK, Records
from gte_ray.ablation.trials import Trial
from gte_ray.runs.results import Results
from gte_ray.runs.tracked import tracked_run
from gte_ray.tracking.queue import QUEUE_FILE
from gte_ray.tracking.tracker import Status, TrackedRun, Tracker


@dataclass(frozen=True)
class Children:
    """Describes the children of one parent, and writes those that no trial's own process writes."""

    name: str
    """Name of the ablation."""
    experiment: str
    tags: Mapping[str, str]
    """Tags that all children have."""
    parent: str
    """MLflow's id of the parent."""
    warn: Callable[[str], None]
    verbose: bool = False

    def of(self, trial: Trial) -> TrackedRun:
        """Return the MLflow run of a trial."""
        tracked = tracked_run(trial.run)
        own = {**self.tags, "gte_ray.row": trial.label, "gte_ray.seed": str(trial.seed)}
        return replace(
            tracked,
            name=f"{self.name} {trial.label}",
            experiment=self.experiment,
            tags={**tracked.tags, **own},
            parent_run_id=self.parent,
        )

    def link(self, trial: Trial, results: Results) -> None:
        """Log a child with the scores of a run that was made elsewhere, and that run's id."""
        child = self.of(trial)
        linked = replace(
            child,
            key=f"{self.parent}-{trial.fingerprint}",
            name=f"{child.name} (linked)",
            params={},
            tags={**child.tags, LINK: results.mlflow_run},
        )
        scores = results.scores.metrics(trial.run.config.training.steps)
        self._write(trial, linked, scores, "FINISHED")

    def record_failures(self, trials: Sequence[Trial], errors: Mapping[str, str], records: Records) -> None:
        """Mark the failed children with their reasons; `errors` has these by fingerprint.

        A trial that failed before its process reached MLflow, or that was never started, gets its child here.
        """
        known = records.children(self.parent)
        for trial in trials:
            if trial.fingerprint in errors and trial.fingerprint not in known:
                self._write(trial, self.of(trial), (), "FAILED")
        records.end_failed(self.parent, errors)

    def _write(
        self,
        trial: Trial,
        child: TrackedRun,
        metrics: Iterable[tuple[int, Mapping[str, float]]],
        status: Status,
    ) -> None:
        queue = os.path.join(tempfile.mkdtemp(prefix="gte_ray-child-"), QUEUE_FILE)
        tracker = Tracker(trial.run.config.run.tracking_uri, child, queue, self.warn, self.verbose)
        for step, values in metrics:
            tracker.log_step(step, values)
        if unwritten := tracker.finish(status):
            self.warn(unwritten)
