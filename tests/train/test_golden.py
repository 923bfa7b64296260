"""Short runs whose losses are kept: what trains today trains as it did when they were written."""

from dataclasses import replace

import pytest
import torch

from gte_ray.config import Config
from gte_ray.train.engine import Engine
from gte_ray.train.step import train_step
from tests.train.runs import CPU, encoder_of, pairs, tiny, with_groups

PAIRS = [6.885538, 7.831965, 8.619781, 6.965875, 6.355875, 4.134404, 4.085217, 4.833418, 4.390846, 4.470418]
GROUPS = [7.203740, 8.427001, 8.950876, 7.365059, 6.717123, 4.502895, 4.724210, 5.191525, 4.764188, 4.804690]
"""With hard negatives."""
DEFAULT = [6.8855, 7.8303, 8.6155, 6.9584, 6.3461, 4.1287, 4.0777, 4.8214, 4.3818, 4.4597]
"""With AdamW's own epsilon, by which the rounding of each processor grows.

All of ten steps, the first five batches twice. A change that means to change them says so in CHANGELOG.md.
"""


def losses(config: Config, hard: bool = False) -> list[float]:
    torch.set_num_threads(1)
    config = replace(config, training=replace(config.training, steps=10))
    engine = Engine(encoder_of(config), config, CPU)
    batches = [replace(pairs(step % 5, hard=hard), step=step) for step in range(10)]
    return [train_step(engine, batch, config).loss for batch in batches]


def test_ten_steps_lose_what_they_lost():
    """To rounding, which is some 5e-6 between processors and budgets."""
    assert losses(tiny()) == pytest.approx(PAIRS, abs=2e-5)
    assert losses(with_groups(tiny()), hard=True) == pytest.approx(GROUPS, abs=2e-5)


def test_ten_steps_by_the_default_optimizer_lose_what_they_lost():
    config = tiny()
    config = replace(config, training=replace(config.training, adam_epsilon=1e-8))
    assert losses(config) == pytest.approx(DEFAULT, abs=2e-3)
