"""The learning rate, also against transformers' schedules."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
    get_wsd_schedule,
)

from gte_ray.config import validate
from gte_ray.errors import UsageError
from gte_ray.recipes import recipe
from gte_ray.train.optimizer import learning_rate
from tests.train.runs import tiny


@pytest.mark.parametrize("schedule", ["linear", "cosine", "wsd"])
@pytest.mark.parametrize("at", [3, 60, 85, 100])
def test_lowered_steps_end_in_a_line_from_where_they_were_lowered(schedule, at):
    planned = replace(tiny().training, steps=200, warmup=0.05, learning_rate=2.0, schedule=schedule)
    lowered = replace(planned, steps=100, planned_steps=200, lowered_at=at)
    rates, others = (
        [learning_rate(step, training) for step in range(100)] for training in (lowered, planned)
    )
    assert rates[:at] == others[:at]
    here = learning_rate(at, planned)
    assert rates[at:] == pytest.approx([here * (100 - step) / (100 - at) for step in range(at, 100)])
    assert all(rate > 0 for rate in rates)


def test_learning_rate_rises_linearly_then_falls_to_nothing():
    training = replace(tiny().training, steps=100, warmup=0.05, learning_rate=2.0)
    rates = [learning_rate(step, training) for step in range(100)]
    assert rates[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert rates[5] == 2.0
    assert rates[-1] == pytest.approx(2.0 / 95)
    assert [a - b for a, b in pairwise(rates[5:])] == pytest.approx([2.0 / 95] * 94)
    assert learning_rate(0, replace(training, warmup=0.0)) == 2.0


def theirs(schedule: str, warmup: int, steps: int, cooldown: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    if schedule == "wsd":
        found = get_wsd_schedule(optimizer, warmup, cooldown, num_training_steps=steps, decay_type="linear")
    elif schedule == "cosine":
        found = get_cosine_schedule_with_warmup(optimizer, warmup, steps)
    else:
        found = get_linear_schedule_with_warmup(optimizer, warmup, steps)
    return [2.0 * found.lr_lambdas[0](step) for step in range(steps)]


@given(
    st.sampled_from(["linear", "cosine", "wsd"]),
    st.integers(2, 300),
    st.integers(0, 100),
    st.integers(1, 100),
)
def test_after_the_warm_up_rates_are_transformers(schedule, steps, warmup, cooldown):
    warmup, cooldown = warmup * steps // 200, max(cooldown * steps // 200, 1)
    training = replace(
        tiny().training,
        steps=steps,
        schedule=schedule,
        warmup=warmup / steps,
        cooldown=cooldown / steps,
        learning_rate=2.0,
    )
    rates = [learning_rate(step, training) for step in range(steps)]
    assert rates[warmup:] == pytest.approx(theirs(schedule, warmup, steps, cooldown)[warmup:], abs=1e-12)
    assert rates[:warmup] == pytest.approx([2.0 * (step + 1) / warmup for step in range(warmup)])
    assert all(rate > 0 for rate in rates)


def test_a_schedule_makes_another_run_and_its_cooldown_only_with_wsd():
    config = recipe("tiny", "store")

    def mark(**changes) -> str:
        return replace(config, training=replace(config.training, **changes)).fingerprint("s", "b")

    assert mark() == mark(cooldown=0.3) == mark(schedule="linear")
    marks = [mark(), mark(schedule="cosine"), mark(schedule="wsd"), mark(schedule="wsd", cooldown=0.3)]
    assert len(set(marks)) == 4
    with pytest.raises(UsageError, match=r"--cooldown is 0.9; allowed is what is left after warmup \(0.2\)"):
        validate(replace(config, training=replace(config.training, schedule="wsd", cooldown=0.9)))
