"""A small encoder that is a language model already, so that what follows begins where the paper's begins."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from gte_ray.config import Config
from gte_ray.data.read import read_batch
from gte_ray.exporting.folder import check_place, write_model
from gte_ray.exporting.sections import CARD_FILE
from gte_ray.model.load import build_encoder
from gte_ray.model.masked_language import MaskedLanguage
from gte_ray.model.microbatch import MicroBatch, join
from gte_ray.runs.plan import make_stream, plan_run, resolve_tokenizer
from gte_ray.train.optimizer import adamw, learning_rate

SHARE = 0.3
"""Of the tokens, those that are hidden: as in mGTE (2407.19669) and ModernBERT; BERT has 0.15."""


def warm_up(config: Config, to: str, report: Callable[[int, float], None]) -> str:
    """Trains the random weights of `config` as a masked language model on the pairs of its store; returns the folder `to`.

    Each step has both texts of a batch of the step plan, so that one seed and store give one model. `report` gets each
    step with its loss, the mean over hidden tokens. In this process, on CPUs. Raises RunError in one sentence.
    """
    if "://" not in to:
        check_place(to)
    run = plan_run(config)
    stream = make_stream(run, resolve_tokenizer(run))
    tokenizer = stream.tokenizer
    torch.set_num_threads(config.hardware.threads)
    encoder = build_encoder(
        run.config.model, tokenizer.vocab_size, tokenizer.pad_id, config.data.max_length, config.seed
    )
    model = MaskedLanguage(encoder.train(), tokenizer, SHARE, config.seed)
    optimizer = adamw(dict(model.named_parameters()), config.training, fused=False)
    for step in range(config.training.steps):
        batch = read_batch(stream, run.store, run.plan[step])
        parts = encoder.micro_batches(
            join(batch.queries, batch.documents), config.hardware.micro_batch_tokens
        )
        loss = _backward(model, parts, np.random.default_rng([config.seed, step]))
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.training.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config.training)
        optimizer.step()
        optimizer.zero_grad()
        report(step, loss)

    def finish(folder: Path) -> None:
        text = (
            f"# A language model of {config.model.layers} layers\n\nTrained by gte_ray for {config.training.steps:,} steps to "
            "name hidden tokens, and for nothing else: a start for embedding models, and none of them.\n"
        )
        (folder / CARD_FILE).write_text(text, encoding="utf-8")

    write_model(encoder, tokenizer, to, config.data.max_length, finish)
    return to


def _backward(model: MaskedLanguage, parts: Sequence[MicroBatch], random: np.random.Generator) -> float:
    """Returns the mean loss over the hidden tokens of all parts, whose gradient it leaves."""
    total, hidden = 0.0, 0
    for part in parts:
        loss, count = model(part, random)
        loss.backward()
        total, hidden = total + loss.item(), hidden + count
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad /= max(hidden, 1)
    return total / max(hidden, 1)
