"""The paper's AdamW and its learning rate."""

import math
from dataclasses import replace

import torch
from torch import nn

from gte_ray.config import TrainingConfig


def learning_rate(step: int, training: TrainingConfig) -> float:
    """Return the rate at `step`, counted from 0: linear warm-up, then down towards 0 by the run's schedule (section 3.4).

    `linear` falls in a line and `cosine` by half a wave (1608.03983), both from the end of the warm-up; `wsd` stays, and
    falls in a line over the cooldown (2404.06395). The first and the last step have a rate above 0: it would be 0 one
    step before and one step after them. That of a run whose steps were lowered falls in a line from `lowered_at` on.
    """
    if training.planned_steps:
        at, steps = training.lowered_at, training.steps
        rate = _planned(min(step, at), replace(training, steps=training.planned_steps))
        return rate if step < at else rate * max(steps - step, 0) / max(steps - at, 1)
    return _planned(step, training)


def _planned(step: int, training: TrainingConfig) -> float:
    """The rate of a run whose steps were not lowered."""
    warmup_steps = round(training.warmup * training.steps)
    if step < warmup_steps:
        return training.learning_rate * (step + 1) / warmup_steps
    falling = training.steps - warmup_steps
    if training.schedule == "wsd":
        falling = max(round(training.cooldown * training.steps), 1)
    left = min(max(training.steps - step, 0) / falling, 1.0)
    return training.learning_rate * (
        (1 - math.cos(math.pi * left)) / 2 if training.schedule == "cosine" else left
    )


def adamw(parameters: dict[str, nn.Parameter], training: TrainingConfig, fused: bool) -> torch.optim.AdamW:
    """Return torch's AdamW over named parameters.

    Weights of linear layers and embeddings decay. Biases and normalisation scales, which have one dimension,
    do not, as in BERT's training.
    """
    groups = [
        {"params": [p for p in parameters.values() if p.ndim > 1], "weight_decay": training.weight_decay},
        {"params": [p for p in parameters.values() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=training.learning_rate,
        betas=(training.adam_beta1, training.adam_beta2),
        eps=training.adam_epsilon,
        fused=fused,
    )
