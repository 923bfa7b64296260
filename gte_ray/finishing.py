"""What follows the last step: the model exported, then scored. Both in Ray tasks, as the driver does without torch."""

from dataclasses import replace
from typing import Any

import ray

from gte_ray.card import CardSource, ModelCard
from gte_ray.data.tokenize import TextTokenizer
from gte_ray.errors import RunError
from gte_ray.evaluation.beside import ScoringBeside
from gte_ray.evaluation.scores import Scores
from gte_ray.failures import LOWER_IN_SCORING, explain
from gte_ray.run import Run

_ANYWHERE: dict[str, Any] = {"scheduling_strategy": "DEFAULT"}
"""Not in the placement group of a Ray Tune trial."""


def card_of(run: Run, command: str) -> ModelCard:
    """The card of the run's model, which `command` makes, without scores."""
    shares = run.plan.source_steps() / run.plan.steps
    return ModelCard(
        name=run.name,
        config=run.config,
        fingerprint=run.fingerprint,
        command=command,
        sources=tuple(
            CardSource(source.name, run.store.source(source.name).task, source.rows, float(share))
            for source, share in zip(run.plan.sources, shares, strict=True)
        ),
    )


def export_model(
    run: Run, tokenizer: TextTokenizer, checkpoint: ray.train.Checkpoint, card: ModelCard
) -> None:
    """Writes the run's model folder. RunError in one sentence."""
    task = ray.remote(_export_task).options(num_cpus=run.config.hardware.worker_cpus, **_ANYWHERE)
    try:
        ray.get(task.remote(run.config, tokenizer, checkpoint, run.model_folder, card))
    except ray.exceptions.RayError as error:
        raise explain(error, LOWER_IN_SCORING, "the model could not be exported: {}") from error


def score_model(
    run: Run,
    tokenizer: TextTokenizer,
    checkpoint: ray.train.Checkpoint,
    card: ModelCard,
    beside: ScoringBeside,
) -> Scores:
    """Scores the exported model, on a GPU if it was trained on them, and adds what was scored beside the training.

    RunError that says where the model is: it stays whatever happens here.
    """
    hardware = run.config.hardware
    task = ray.remote(_score_task).options(
        num_cpus=hardware.worker_cpus, num_gpus=1 if hardware.gpu else 0, **_ANYWHERE
    )
    try:
        steps = beside.finish()
        scores = ray.get(task.remote(run.config, tokenizer, checkpoint, run.model_folder, card))
    except (ray.exceptions.RayError, RunError, OSError) as error:
        frame = (
            f"the model could not be scored: {{}}; the trained model is in {run.model_folder}, and the same command "
            "scores it without training again"
        )
        raise explain(error, LOWER_IN_SCORING, frame) from error
    return replace(scores, steps=steps)


def _export_task(*arguments: Any) -> None:
    from gte_ray.evaluation.final import export

    export(*arguments)


def _score_task(*arguments: Any) -> Scores:
    from gte_ray.evaluation.final import score

    return score(*arguments)
