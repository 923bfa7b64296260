"""What follows the last step: the model exported, then scored. Both in Ray tasks, as the driver does without torch."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
import ray.train

from gte_ray.data.tokenize import TextTokenizer
from gte_ray.errors import LOWER_IN_SCORING, RunError, explain
from gte_ray.evaluation.async_evaluation import AsyncEvaluation
from gte_ray.evaluation.scores import Scores
from gte_ray.export.card import CardSource, ModelCard
from gte_ray.runs.plan import Run
from gte_ray.runtime import storage
from gte_ray.runtime.cluster import command_line

_ANYWHERE: dict[str, Any] = {"scheduling_strategy": "DEFAULT"}
"""Not in the placement group of a Ray Tune trial."""


@dataclass(frozen=True)
class Trained:
    """What training leaves to those that come after it."""

    tokenizer: TextTokenizer
    checkpoint: ray.train.Checkpoint
    """The last."""
    evaluation: AsyncEvaluation
    """That of the weights of earlier steps, where the run asks for it."""


def card_of(run: Run) -> ModelCard:
    """The card of the run's model, which the present command makes, without scores."""
    shares = run.plan.source_steps() / run.plan.steps
    return ModelCard(
        name=run.name,
        config=run.config,
        fingerprint=run.fingerprint,
        command=command_line(),
        sources=tuple(
            CardSource(source.name, run.store.source(source.name).task, source.rows, float(share))
            for source, share in zip(run.plan.sources, shares, strict=True)
        ),
    )


def export(run: Run, trained: Trained) -> str:
    """Writes the model of the last checkpoint, and gives its folder. RunError in one sentence."""
    task = ray.remote(_export).options(num_cpus=run.config.hardware.worker_cpus, **_ANYWHERE)
    try:
        ray.get(task.remote(card_of(run), trained.tokenizer, trained.checkpoint, run.model_folder))
    except ray.exceptions.RayError as error:
        raise explain(error, LOWER_IN_SCORING, "the model could not be exported: {}") from error
    return run.model_folder


def score(run: Run, trained: Trained) -> Scores:
    """Scores the exported model, on a GPU if it was trained on them, and adds those of earlier steps.

    RunError that says where the model is: it stays whatever happens here.
    """
    hardware = run.config.hardware
    task = ray.remote(_score).options(
        num_cpus=hardware.worker_cpus, num_gpus=1 if hardware.gpu else 0, **_ANYWHERE
    )
    try:
        steps = trained.evaluation.finish()
        scores = ray.get(task.remote(card_of(run), trained.tokenizer, trained.checkpoint, run.model_folder))
    except (ray.exceptions.RayError, RunError, OSError) as error:
        frame = (
            f"the model could not be scored: {{}}; the trained model is in {run.model_folder}, and the same command "
            "scores it without training again"
        )
        raise explain(error, LOWER_IN_SCORING, frame) from error
    return replace(scores, steps=steps)


def _export(
    card: ModelCard, tokenizer: TextTokenizer, checkpoint: ray.train.Checkpoint, model_folder: str
) -> None:
    from gte_ray.evaluation.scoring import first_encoder, load_checkpoint
    from gte_ray.export.folder import export_model

    encoder = first_encoder(card.config, tokenizer, gpu=False)
    load_checkpoint(encoder, checkpoint)
    with tempfile.TemporaryDirectory() as scratch:
        local = str(Path(scratch) / "model") if "://" in model_folder else model_folder
        export_model(encoder, tokenizer, local, card)
        if local != model_folder:
            storage.upload(local, model_folder)


def _score(
    card: ModelCard, tokenizer: TextTokenizer, checkpoint: ray.train.Checkpoint, model_folder: str
) -> Scores:
    """The scores, which the card gets too."""
    from gte_ray.evaluation.scoring import first_encoder, score_run
    from gte_ray.export.folder import write_card

    encoder = first_encoder(card.config, tokenizer, card.config.hardware.gpu)
    trained = [source.name for source in card.sources]
    scores = score_run(encoder, tokenizer, checkpoint, card.config, trained)
    write_card(encoder, tokenizer, model_folder, replace(card, scores=scores))
    return scores
