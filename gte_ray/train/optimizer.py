"""AdamW as the paper uses it, and its learning rate."""

import torch
from torch import nn

from gte_ray.config import TrainingConfig


def learning_rate(step: int, training: TrainingConfig) -> float:
    """Linear warm-up to the highest rate, then linear decay towards 0 (section 3.4); `step` counts from 0.

    The first step already learns, and so does the last: the rate would be 0 one step before and after.
    """
    warmup_steps = round(training.warmup * training.steps)
    if step < warmup_steps:
        return training.learning_rate * (step + 1) / warmup_steps
    return training.learning_rate * max(training.steps - step, 0) / (training.steps - warmup_steps)


def adamw(parameters: dict[str, nn.Parameter], training: TrainingConfig, fused: bool) -> torch.optim.AdamW:
    """torch's AdamW over named parameters.

    Weights of linear layers and embeddings decay; biases and the scales of normalisations, which have one
    dimension, do not, as BERT was trained.
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
