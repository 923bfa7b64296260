"""What a step sends over the network: the collectives and bytes that cluster/README.md counts with."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gte_ray.train.engine import Engine
from gte_ray.train.step import train_step
from tests.train.runs import CPU, encoder_of, on_ranks, pairs, shard, tiny, with_groups

RANKS, PAIRS = 8, 24
FLOAT, INTEGER = 4, 8
"""Bytes of a number."""


class Collectives(TorchDispatchMode):
    """Records each collective by name, with the bytes of what it gathers, sums, or hands out to this rank."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            size = sum(x.nbytes for x in tree_leaves(args[0]) if isinstance(x, torch.Tensor))
            self.calls.append((func._schema.name.removeprefix("c10d::").strip("_"), size))
        return func(*args, **(kwargs or {}))


def second_step(rank: int, hard: bool):
    config = with_groups(tiny()) if hard else tiny()
    engine = Engine(encoder_of(config), config, CPU)
    first, second = (shard(pairs(step, PAIRS, hard), rank, RANKS) for step in range(2))
    train_step(engine, first, config)
    with Collectives() as seen:
        train_step(engine, second, config)
    parameters = sum(p.numel() for p in engine.encoder.parameters())
    return seen.calls, engine.encoder.dimensions, parameters, len(second.negatives)


@pytest.mark.processes
@pytest.mark.parametrize("hard", [False, True])
def test_a_step_has_nine_collectives_and_two_more_with_hard_negatives(tmp_path: Path, hard):
    found = on_ranks(RANKS, second_step, tmp_path, hard)
    calls, width, parameters, _ = found[0]
    assert all(other == calls for other, *_ in found)
    most = max(negatives for *_, negatives in found)
    counts = [("allreduce", 2 * RANKS * INTEGER)]
    gathers = [("allgather_base", PAIRS * 2 * (width * FLOAT + INTEGER))]
    gradients = [("reduce_scatter_base", PAIRS // RANKS * 2 * width * FLOAT)]
    if hard:
        gathers += [("allgather_base", RANKS * most * (width * FLOAT + 2 * INTEGER))]
        gradients = [("reduce_scatter_base", most * width * FLOAT), *gradients]
    totals = [("allreduce", 11 * INTEGER)]
    assert calls[: len(calls) - 5] == counts + gathers + totals + gradients
    # DeepSpeed: gradients of weights, whether they are finite, their norm, and the weights in two groups.
    summed, finite, norm, *weights = calls[-5:]
    assert summed == ("allreduce", parameters * FLOAT)
    assert finite == norm == ("allreduce", FLOAT)
    assert {name for name, _ in weights} == {"allgather_base"}
    assert sum(size for _, size in weights) == parameters * FLOAT
