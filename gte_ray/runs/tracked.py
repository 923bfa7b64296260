"""A run in MLflow: its key, parameters and tags, and the files that are logged besides its steps."""

import os
import tempfile

from gte_ray.evaluation.scores import Scores
from gte_ray.report.plots import loss_curve, scores_plot
from gte_ray.runs.history import History
from gte_ray.runs.plan import Run
from gte_ray.runs.run_folder import CONFIG_FILE, public, run_key
from gte_ray.runtime import storage
from gte_ray.tracking.queue import QUEUE_FILE
from gte_ray.tracking.tracker import TrackedRun, Tracker


def tracked_run(run: Run) -> TrackedRun:
    """What MLflow shows of the opened `run`, in the experiment that its config names."""
    config = public(run.config)
    params = {
        name: value
        for section, part in config.to_dict().items()
        for name, value in (part.items() if isinstance(part, dict) else [(section, part)])
    }
    return TrackedRun(
        key=run_key(run),
        name=run.name,
        experiment=config.run.experiment,
        params=params,
        tags={
            "gte_ray.recipe": config.recipe,
            "gte_ray.fingerprint": run.fingerprint,
            "gte_ray.store": run.store.fingerprint,
        },
    )


def queue_path(run: Run) -> str:
    """The local file with the records of the opened `run` that MLflow has not received yet."""
    return os.path.join(local_folder(run), QUEUE_FILE)


def local_folder(run: Run) -> str:
    """The local folder for files that grow line by line: the run's if it is local, else a temporary one."""
    if "://" not in run.folder:
        return run.folder
    folder = os.path.join(tempfile.gettempdir(), f"gte_ray-{run_key(run)}")
    os.makedirs(folder, exist_ok=True)
    return folder


def log_config(run: Run, tracker: Tracker) -> None:
    """Logs the run's config file as an artifact."""
    path = os.path.join(local_folder(run), CONFIG_FILE)
    storage.write_bytes(path, storage.read_bytes(storage.join(run.folder, CONFIG_FILE)))
    tracker.log_artifact(path)


def log_plots(run: Run, scores: Scores, history: History, tracker: Tracker) -> None:
    """Plots the losses and the scores, and logs both as artifacts."""
    folder = os.path.join(local_folder(run), "plots")
    os.makedirs(folder, exist_ok=True)
    steps = history.read()
    if steps:
        numbers, sources, losses, _ = zip(*steps, strict=True)
        loss_curve(numbers, losses, sources, os.path.join(folder, "loss"))
    if scores.after:
        scores_plot(scores.before, scores.after, scores.bm25, os.path.join(folder, "scores"))
    tracker.log_artifact(folder, "plots")
