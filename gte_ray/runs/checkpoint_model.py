"""A model of any checkpoint of a run, beside the training that goes on or has stopped."""

from dataclasses import dataclass, replace

import ray.train

from gte_ray.config import from_dict
from gte_ray.errors import RunError, UsageError
from gte_ray.evaluation.scores import Scores
from gte_ray.runs.finishing import export_weights
from gte_ray.runs.plan import plan_run, resolve_tokenizer
from gte_ray.runs.results import is_finished, read_results
from gte_ray.runs.run_card import card_of
from gte_ray.runs.run_folder import CONFIG_FILE
from gte_ray.runtime import storage
from gte_ray.train.checkpoints import last_checkpoint


@dataclass(frozen=True)
class Chosen:
    """Which model of a run is made."""

    steps: int = 0
    """Steps after which; 0 for those of the last checkpoint."""
    average: int = 1
    """Number of checkpoints up to there that the weights are the mean of."""
    dimensions: int = 0
    """First dimensions that its vectors have; 0 for all."""


@dataclass(frozen=True)
class CheckpointModel:
    folder: str
    steps: tuple[int, ...]
    """Steps that the weights were trained for; several if they are a mean."""
    all_steps: int
    """Steps of the whole run."""
    store: str
    """Of the run's pairs."""


def export_checkpoint(run_folder: str, to: str, chosen: Chosen) -> CheckpointModel:
    """Exports a model of the checkpoints that the run at `run_folder` has, which may go on meanwhile.

    `to` is the model's folder; if it is empty, one in RUN that is named after the steps. Without Ray, in this process.
    Raises UsageError for steps that the run has no checkpoint of, for more checkpoints than it has, and for more
    dimensions than its model has; RunError for a folder that is no run's, or has no checkpoint.
    """
    run_folder = storage.absolute(run_folder)
    record = storage.join(run_folder, CONFIG_FILE)
    if not storage.exists(record):
        raise RunError(f"{run_folder}: is no run's folder (no {CONFIG_FILE})")
    checkpoints = checkpoints_of(run_folder)
    if not checkpoints:
        raise RunError(f"{run_folder}: the run has no checkpoint yet")
    recorded = storage.read_json(record)
    run = plan_run(from_dict(recorded["config"]))
    if run.config.model.lora_rank and chosen.average > 1:
        raise UsageError(
            f"--average is {chosen.average}; allowed is 1 for a run with adapters (--lora-rank): the mean of the factors is not "
            "that of the models, which gte_ray.merge makes of exported ones"
        )
    steps = _steps(run_folder, sorted(checkpoints), chosen)
    name = "-".join(["model", *map(str, steps), *([f"{chosen.dimensions}d"] if chosen.dimensions else [])])
    folder = storage.absolute(to) if to else storage.join(run_folder, name)
    all_steps, tokenizer = run.config.training.steps, resolve_tokenizer(run)
    card = replace(
        card_of(run, recorded.get("command", "")),  # which runs of earlier versions do not have
        scores=_scores(run_folder, steps, all_steps, chosen.dimensions),
        steps=steps[-1] if steps[-1] < all_steps else 0,
        averaged=steps if len(steps) > 1 else (),
        dimensions=chosen.dimensions,
    )
    try:
        export_weights(card, tokenizer, [checkpoints[number] for number in steps], folder)
    except FileNotFoundError as error:
        kept = run.config.run.checkpoints_kept
        raise RunError(
            f"{run_folder}: a checkpoint was deleted meanwhile; the run keeps its last {kept}, so try again"
        ) from error
    return CheckpointModel(folder, steps, all_steps, run.store.uri)


def _scores(run_folder: str, steps: tuple[int, ...], all_steps: int, dimensions: int) -> Scores | None:
    """The scores that the run has of this very model: none before it is finished, nor of a mean."""
    if len(steps) > 1 or not is_finished(run_folder):
        return None
    return read_results(run_folder).scores.of_model(steps[0], all_steps, dimensions)


def _steps(run_folder: str, there: list[int], chosen: Chosen) -> tuple[int, ...]:
    """The checkpoints that are asked for, of those that are `there`, by their steps, ascending."""
    shown = ", ".join(f"{number:,}" for number in there)
    last = chosen.steps or there[-1]
    if last not in there:
        raise UsageError(
            f"--step is {last:,}; allowed are those that {run_folder} has a checkpoint of: {shown}"
        )
    until = [number for number in there if number <= last]
    if chosen.average > len(until):
        raise UsageError(
            f"--average is {chosen.average}; allowed are up to {len(until)}, as {run_folder} has checkpoints of {shown} "
            "(--checkpoints-kept of a training)"
        )
    return tuple(until[-chosen.average :])


def checkpoints_of(run_folder: str) -> dict[int, ray.train.Checkpoint]:
    """The checkpoints that are there, by the number of steps before each."""
    last = last_checkpoint(run_folder)
    return {metrics["step"] + 1: kept for kept, metrics in last.best_checkpoints} if last is not None else {}
