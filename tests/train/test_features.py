"""What is added to the loss is the same on any number of ranks, with any budgets and tiles, as in one process.

That one process computes what the formulas say is told by the oracles of `tests/model`.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch

from gte_ray.config import Config
from gte_ray.train.engine import Engine
from gte_ray.train.step import train_step
from tests.train.runs import (
    CPU,
    encoder_of,
    on_ranks,
    pairs,
    shard,
    tiny,
    with_dimensions,
    with_groups,
    with_teacher,
)

STEPS = 5
MARGIN = {"false_negative_margin": 0.02}
FEATURES: dict[str, tuple[dict[str, Any], tuple[Any, ...]]] = {
    "margin": (MARGIN, ()),
    "margin, Qwen3's sums": (MARGIN | {"directions": ("q2d", "q2q", "d2d")}, ()),
    "margin, first dimensions": (MARGIN, (with_dimensions,)),
    "first dimensions": ({}, (with_dimensions,)),
    "divergence": ({}, (with_teacher,)),
    "divergence, first dimensions": ({}, (with_teacher, with_dimensions)),
    "difference of margins": ({"teacher_loss": "margin-mse"}, (with_teacher,)),
}
"""Settings of the objective, and what else is changed."""


def configs(**hardware: Any) -> dict[str, Config]:
    """Each feature on pairs and on groups with hard negatives, which a teacher's scores are for."""
    found = {}
    for name, (objective, changes) in FEATURES.items():
        config = tiny(**hardware)
        config = replace(config, objective=replace(config.objective, **objective))
        for change in changes:
            config = change(config)
        if with_teacher not in changes:
            found[f"{name}, pairs"] = config
        found[f"{name}, groups"] = with_groups(config)
    return found


def run(rank: int, ranks: int, config: Config) -> tuple[dict, list[tuple[float, float, float]]]:
    """The weights after some steps; losses and shares of what was masked."""
    engine, metrics = Engine(encoder_of(config), config, CPU), []
    for step in range(STEPS):
        taught = config.objective.teacher_weight > 0
        batch = shard(pairs(step, hard=config.data.group_size > 1, taught=taught), rank, ranks)
        found = train_step(engine, batch, config)
        metrics.append((found.loss, found.masked_share, found.margin_share))
    return {name: p.detach().clone() for name, p in engine.encoder.named_parameters()}, metrics


def run_all(rank: int, ranks: int, tile: int) -> list:
    """Each with a budget of its own on each rank, so that the numbers of micro-batches differ."""
    budget = {"micro_batch_tokens": 24 + 40 * rank}
    return [
        run(rank, ranks, config) for config in configs(graph_tokens=60, loss_tile=tile, **budget).values()
    ]


@pytest.fixture(scope="module")
def alone() -> dict[str, tuple[dict, list]]:
    torch.set_num_threads(1)
    return {name: run(0, 1, config) for name, config in configs().items()}


def test_each_feature_changes_what_is_learnt(alone):
    """Otherwise its ranks would tell nothing."""
    plain = {"pairs": run(0, 1, tiny())[0], "groups": run(0, 1, with_groups(tiny()))[0]}
    for name, (weights, metrics) in alone.items():
        other = plain[name.rpartition(", ")[2]]
        assert max((weights[key] - other[key]).abs().max() for key in weights) > 1e-3, name
        assert name.startswith("margin") == any(0.02 < share < 0.98 for _, _, share in metrics), name


@pytest.mark.processes
@pytest.mark.parametrize(("ranks", "tile"), [(2, 1), (3, 2)])
def test_ranks_with_unequal_micro_batches_equal_one_process(ranks, tile, alone, tmp_path):
    for results in on_ranks(ranks, run_all, tmp_path, ranks, tile):
        for (name, (weights, metrics)), (found, theirs) in zip(alone.items(), results, strict=True):
            for key, value in weights.items():
                torch.testing.assert_close(
                    found[key], value, rtol=0, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
                )
            for one, other in zip(metrics, theirs, strict=True):
                assert other[0] == pytest.approx(one[0], abs=1e-4), name
                assert other[1:] == pytest.approx(one[1:]), name
