"""A model of any checkpoint of a run, beside the training that goes on or has stopped."""

from dataclasses import dataclass, replace

import ray.train

from gte_ray.config import from_dict
from gte_ray.errors import RunError, UsageError
from gte_ray.runs.finishing import card_of, export_weights
from gte_ray.runs.plan import plan_run, resolve_tokenizer
from gte_ray.runs.run_folder import CONFIG_FILE
from gte_ray.runtime import storage
from gte_ray.train.checkpoints import last_checkpoint


@dataclass(frozen=True)
class CheckpointModel:
    folder: str
    steps: int
    """Steps that the weights were trained for."""
    all_steps: int
    """Steps of the whole run."""


def export_checkpoint(run_folder: str, steps: int, to: str) -> CheckpointModel:
    """Exports the weights after `steps` steps of the run at `run_folder`, 0 for the last checkpoint.

    `to` is the model's folder, RUN/model-STEPS if it is empty. Without Ray, in this process. Raises UsageError for
    steps that the run has no checkpoint of, RunError for a folder that is no run's, or has no checkpoint.
    """
    run_folder = storage.absolute(run_folder)
    record = storage.join(run_folder, CONFIG_FILE)
    if not storage.exists(record):
        raise RunError(f"{run_folder}: is no run's folder (no {CONFIG_FILE})")
    checkpoints = _checkpoints(run_folder)
    if not checkpoints:
        raise RunError(f"{run_folder}: the run has no checkpoint yet")
    steps = steps or max(checkpoints)
    if steps not in checkpoints:
        there = ", ".join(f"{number:,}" for number in sorted(checkpoints))
        raise UsageError(
            f"--step is {steps:,}; allowed are those that {run_folder} has a checkpoint of: {there}"
        )
    run = plan_run(from_dict(storage.read_json(record)["config"]))
    folder = storage.absolute(to) if to else storage.join(run_folder, f"model-{steps}")
    all_steps, tokenizer = run.config.training.steps, resolve_tokenizer(run)
    card = replace(card_of(run), steps=steps if steps < all_steps else 0)
    try:
        export_weights(card, tokenizer, checkpoints[steps], folder)
    except FileNotFoundError as error:
        kept = run.config.run.checkpoints_kept
        raise RunError(
            f"{checkpoints[steps].path}: was deleted meanwhile; the run keeps its last {kept} checkpoints, so try again"
        ) from error
    return CheckpointModel(folder, steps, all_steps)


def _checkpoints(run_folder: str) -> dict[int, ray.train.Checkpoint]:
    """The checkpoints that are there, by the number of steps before each."""
    last = last_checkpoint(run_folder)
    return {metrics["step"] + 1: kept for kept, metrics in last.best_checkpoints} if last is not None else {}
