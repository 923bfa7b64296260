"""A short run whose losses are kept: what trains today trains as it did when they were written."""

from dataclasses import replace

import pytest

from gte_ray.train.engine import Engine
from gte_ray.train.step import train_step
from tests.train.runs import CPU, encoder_of, pairs, tiny

LOSSES = [6.8855, 7.8303, 8.6155, 6.9584, 6.3461, 4.1287, 4.0777, 4.8214, 4.3818, 4.4597]
"""Of ten steps, the first five batches twice. A change that means to change them says so in CHANGELOG.md."""


def test_ten_steps_lose_what_they_lost():
    config = tiny()
    config = replace(config, training=replace(config.training, steps=10, adam_epsilon=1e-8))  # the default
    engine = Engine(encoder_of(config), config, CPU)
    losses = [train_step(engine, replace(pairs(step % 5), step=step), config).loss for step in range(10)]
    assert losses == pytest.approx(LOSSES, abs=2e-3)
