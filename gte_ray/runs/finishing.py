"""After the last step: exports the model, then scores it.

Both run in Ray tasks, because the driver does without torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
import ray.train

from gte_ray.data.tokenize import TextTokenizer
from gte_ray.errors import LOWER_IN_SCORING, RunError, UsageError, explain
from gte_ray.evaluation.async_evaluation import AsyncEvaluation
from gte_ray.evaluation.scores import Scores
from gte_ray.exporting.card import ModelCard
from gte_ray.runs.benchmark_board import board_of
from gte_ray.runs.plan import Run, resolve_tokenizer
from gte_ray.runs.run_card import card_of
from gte_ray.train.checkpoints import last_checkpoint, next_step

_ANYWHERE: dict[str, Any] = {"scheduling_strategy": "DEFAULT"}
"""Options of a task outside the placement group of a Ray Tune trial."""


@dataclass(frozen=True)
class Trained:
    """What training hands on to export and scoring."""

    tokenizer: TextTokenizer
    checkpoint: ray.train.Checkpoint
    """The last checkpoint."""
    evaluation: AsyncEvaluation
    """Scores the weights of earlier steps, if the run asks for it."""


def last_trained(run: Run) -> Trained:
    """What the run's folder has of its training, for `export` and `score` without training.

    Raises RunError if there is no checkpoint.
    """
    tokenizer = resolve_tokenizer(run)
    evaluation = AsyncEvaluation(
        run.config, run.folder, next_step(run.folder), board_of(run, tokenizer), lambda *_: None
    )
    return Trained(tokenizer, newest_checkpoint(run), evaluation)


def newest_checkpoint(run: Run) -> ray.train.Checkpoint:
    """The checkpoint to export. Raises RunError if there is none."""
    last = last_checkpoint(run.folder)
    if last is None or last.checkpoint is None:
        raise RunError(f"{run.folder}: no checkpoint is left to export")
    return last.checkpoint


def export(run: Run, trained: Trained) -> str:
    """Writes the model of the last checkpoint and returns its folder. Raises RunError with one sentence."""
    task = ray.remote(export_weights).options(num_cpus=run.config.hardware.worker_cpus, **_ANYWHERE)
    try:
        ray.get(task.remote(card_of(run), trained.tokenizer, [trained.checkpoint], run.model_folder))
    except ray.exceptions.RayError as error:
        raise explain(error, LOWER_IN_SCORING, "the model could not be exported: {}") from error
    return run.model_folder


def score(run: Run, trained: Trained) -> Scores:
    """Scores the model, on a GPU if it was trained on GPUs, and adds the scores of earlier steps.

    Raises RunError that names the model's folder, which stays whatever happens here.
    """
    hardware = run.config.hardware
    task = ray.remote(score_in_task).options(
        num_cpus=hardware.worker_cpus, num_gpus=1 if hardware.gpu else 0, **_ANYWHERE
    )
    try:
        evaluation = trained.evaluation
        steps = evaluation.finish()
        scores = ray.get(task.remote(card_of(run), trained.tokenizer, trained.checkpoint, run.model_folder))
        return evaluation.board.added(scores, steps, run.model_folder)
    except (ray.exceptions.RayError, RunError, OSError) as error:
        frame = (
            f"the model could not be scored: {{}}; the trained model is in {run.model_folder}, and the same command "
            "scores it without training again"
        )
        raise explain(error, LOWER_IN_SCORING, frame) from error


def export_weights(
    card: ModelCard,
    tokenizer: TextTokenizer,
    checkpoints: Sequence[ray.train.Checkpoint],
    model_folder: str,
) -> None:
    """Writes the model of a checkpoint, of several their mean, in this process to a folder or URI.

    It has the dimensions that `card` says.

    Raises UsageError for more dimensions than it has.
    """
    from gte_ray.evaluation.scoring import first_encoder, load_checkpoint
    from gte_ray.exporting.folder import export_model

    encoder = first_encoder(card.config, tokenizer, False, card.config.hardware.threads)
    load_checkpoint(encoder, *checkpoints)
    if card.dimensions > encoder.dimensions:
        raise UsageError(
            f"--dimensions is {card.dimensions}; allowed are up to {encoder.dimensions}, which the model has"
        )
    if card.dimensions == encoder.dimensions:
        card = replace(card, dimensions=0)
    encoder.truncate(card.dimensions or encoder.dimensions)
    export_model(encoder, tokenizer, model_folder, card)


def score_in_task(
    card: ModelCard, tokenizer: TextTokenizer, checkpoint: ray.train.Checkpoint, model_folder: str
) -> Scores:
    """Returns the scores, and writes them to the model card too."""
    from gte_ray.evaluation.scoring import first_encoder, score_run
    from gte_ray.exporting.folder import write_card

    hardware = card.config.hardware
    encoder = first_encoder(card.config, tokenizer, hardware.gpu, hardware.threads)
    trained = [source.name for source in card.sources]
    scores = score_run(encoder, tokenizer, checkpoint, card.config, trained)
    write_card(encoder, tokenizer, model_folder, replace(card, scores=scores))
    return scores
