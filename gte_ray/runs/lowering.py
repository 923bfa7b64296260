"""Lowers the steps of a run that has begun: it ends there, its learning rate falling to 0 from its last checkpoint on."""

from dataclasses import replace
from typing import Any

from gte_ray.config import TrainingConfig, from_dict
from gte_ray.errors import UsageError
from gte_ray.runs.plan import Run, plan_run
from gte_ray.runs.results import is_finished
from gte_ray.train.checkpoints import next_step


def lowered(run: Run, recorded: dict[str, Any]) -> Run | None:
    """Returns what `run` becomes in its folder, if it is the run there but for fewer steps; None if it is another one.

    `recorded` is the content of the folder's config file. The batches stay those of the plan that the run began with.
    Raises UsageError if the run has done more steps, is finished, or was lowered to another number before.
    """
    try:
        old = from_dict(recorded["config"]).training
    except UsageError:  # of another version
        return None
    steps = run.config.training.steps
    same = _with(run, old.steps, old.planned_steps, old.lowered_at)
    if same.fingerprint != recorded["fingerprint"]:
        return None
    if old.planned_steps and steps == old.steps:  # lowered by an earlier call
        return same
    if old.planned_steps:
        raise UsageError(
            f"--steps is {steps}; those of run {run.name} were lowered from {old.planned_steps} to {old.steps} after its "
            f"step {old.lowered_at}, which are allowed, as is --fresh to start over"
        )
    if steps >= old.steps:
        return None
    done = next_step(run.folder)
    if is_finished(run.folder) or steps < done:
        finished = is_finished(run.folder)
        state = (
            f"is finished after {old.steps}" if finished else f"has a checkpoint after {done} of {old.steps}"
        )
        raise UsageError(
            f"--steps is {steps}; run {run.name} {state} steps, and no fewer are allowed: "
            f"`python -m gte_ray.export {run.folder} --step N` makes a model of an earlier checkpoint"
        )
    return _with(run, steps, old.steps, done) if done else run


def ending(training: TrainingConfig) -> str:
    """What is said of a run whose steps were lowered; empty for others."""
    if not training.planned_steps:
        return ""
    if training.steps == training.lowered_at:
        return f"ends after {training.steps:,} of {training.planned_steps:,} steps with the weights of its last checkpoint as they are"
    return (
        f"ends after {training.steps:,} of the {training.planned_steps:,} steps that it was planned for: its learning rate "
        f"falls to 0 from step {training.lowered_at:,} on, its batches stay the same"
    )


def _with(run: Run, steps: int, planned: int, lowered_at: int) -> Run:
    training = replace(run.config.training, steps=steps, planned_steps=planned, lowered_at=lowered_at)
    return plan_run(replace(run.config, training=training))
