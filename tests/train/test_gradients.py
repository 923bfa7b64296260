"""The training step against one plain process, written from the paper's formulas and torch alone."""

import tempfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from gte_ray.config import Config
from gte_ray.data.batch import PairBatch, TokenLists
from gte_ray.model.encoder import Encoder
from gte_ray.train.engine import Engine
from gte_ray.train.state import open_state
from gte_ray.train.step import train_step
from gte_ray.train.step_report import StepMetrics
from tests.train.runs import (
    CPU,
    EPSILON,
    encoder_of,
    on_ranks,
    pairs,
    shard,
    texts_of,
    tiny,
    with_dimensions,
    with_groups,
    with_precision,
    with_teacher,
)

STEPS = 5
MASKED_HARD = 5 / (11 * (10 + 15))
"""Four pairs share a text with another, and one hard negative is another pair's document."""
Weights = dict[str, Tensor]


def embed_one_by_one(encoder: Encoder, tokens: TokenLists) -> Tensor:
    rows = []
    for text in texts_of(tokens):
        states = encoder.backbone(input_ids=torch.tensor(text[None].astype(np.int64)), layout=None)
        mean = states.last_hidden_state[0].mean(0)
        rows.append(mean / mean.norm())
    return torch.stack(rows)


def shares_a_text(batch: PairBatch, i: int, j: int) -> bool:
    q, d = batch.query_hashes, batch.document_hashes
    return q[i] == q[j] or d[i] == d[j] or q[i] == d[j] or d[i] == q[j]


def loss_of_formula(q: Tensor, d: Tensor, h: Tensor, batch: PairBatch, temperature: float) -> Tensor:
    losses = []
    owners, hashes = batch.negative_owners, batch.negative_hashes
    for i in range(len(q)):
        others = [j for j in range(len(q)) if j != i and not shares_a_text(batch, i, j)]
        own = q[i] @ d[i] / temperature
        terms = [own, own]
        for j in others:
            terms += [x / temperature for x in (q[i] @ d[j], q[i] @ q[j], q[j] @ d[i], d[j] @ d[i])]
        for k in range(len(h)):
            if hashes[k] not in (batch.query_hashes[i], batch.document_hashes[i]):
                terms += [q[i] @ h[k] / temperature] + [h[k] @ d[i] / temperature] * int(owners[k] != i)
        losses.append(torch.logsumexp(torch.stack(terms), 0) - own)
    return torch.stack(losses).mean()


def divergence(q: Tensor, d: Tensor, h: Tensor, batch: PairBatch) -> Tensor:
    """The mean over the pairs of the divergence from a teacher of `with_teacher`, group by group."""
    total = torch.zeros(())
    for i in range(len(q)):
        scored = [
            k
            for k in range(len(h))
            if batch.negative_owners[k] == i and batch.negative_scores[k] == batch.negative_scores[k]
        ]
        scores = torch.tensor([batch.document_scores[i], *batch.negative_scores[scored]])
        target = torch.softmax(scores / 0.5, 0)
        student = torch.log_softmax(q[i] @ torch.cat([d[i, None], h[scored]]).T / 0.01, 0)
        total = total + (target * (target.log() - student)).sum()
    return total / len(q)


def plain_run(config: Config, hard: bool = False) -> tuple[Weights, list[float]]:
    """Five steps of torch's AdamW in float32, with clipping, on the whole batches."""
    encoder = encoder_of(config)
    encoder.backbone.set_attn_implementation("eager")
    decayed = [p for p in encoder.parameters() if p.ndim > 1]
    others = [p for p in encoder.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}], eps=EPSILON
    )
    losses = []
    rates = [0.5e-3, 1e-3, 1e-3, 0.75e-3, 0.5e-3]  # up over 2 of 6 steps, then down towards 0
    for step, rate in enumerate(rates):
        weight_of_teacher = config.objective.teacher_weight
        batch = pairs(step, hard=hard, taught=weight_of_teacher > 0)
        texts = (batch.queries, batch.documents, *[batch.negatives] * hard)
        q, d, *h = (embed_one_by_one(encoder, tokens) for tokens in texts)
        vectors = (q, d, h[0] if hard else q[:0])
        loss = torch.zeros(())
        for k, weight in config.objective.levels or ((32, 1.0),):
            prefixes = (torch.nn.functional.normalize(x[:, :k], dim=-1) for x in vectors)
            loss = loss + weight * loss_of_formula(*prefixes, batch, 0.01)
        if weight_of_teacher:
            loss = loss + weight_of_teacher * divergence(*vectors, batch)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        assert norm > 10, "clipping has to be at work"
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        losses.append(loss.item())
    return weights_of(encoder), losses


def weights_of(encoder: Encoder) -> Weights:
    return {name: p.detach().clone() for name, p in encoder.named_parameters()}


def run(rank: int, ranks: int, config: Config) -> tuple[Weights, list[StepMetrics], int]:
    engine = Engine(encoder_of(config), config, CPU)
    metrics, parts = [], 0
    for step in range(STEPS):
        taught = config.objective.teacher_weight > 0
        batch = shard(pairs(step, hard=config.data.group_size > 1, taught=taught), rank, ranks)
        metrics.append(train_step(engine, batch, config))
        parts += len(engine.encoder.micro_batches(batch.queries, config.hardware.micro_batch_tokens))
    return weights_of(engine.encoder), metrics, parts


def run_unequal(rank: int, ranks: int, configs: list[Config]) -> list:
    """Each run with a budget of its own on each rank, so that the numbers of micro-batches differ."""
    return [
        run(
            rank, ranks, replace(config, hardware=replace(config.hardware, micro_batch_tokens=24 + 40 * rank))
        )
        for config in configs
    ]


@pytest.fixture(scope="module")
def plain():
    torch.set_num_threads(1)
    return plain_run(tiny())


@pytest.fixture(scope="module")
def plain_hard():
    torch.set_num_threads(1)
    return plain_run(tiny(), hard=True)


@pytest.fixture(scope="module")
def plain_dimensions():
    torch.set_num_threads(1)
    return plain_run(with_dimensions(tiny()), hard=True)


@pytest.fixture(scope="module")
def plain_taught():
    torch.set_num_threads(1)
    return plain_run(with_teacher(tiny()), hard=True)


def assert_same(
    found: tuple[Weights, list[StepMetrics], int], plain: tuple[Weights, list[float]], masked: float = 4 / 110
) -> None:
    weights, metrics, _ = found
    for name, expected in plain[0].items():
        torch.testing.assert_close(
            weights[name], expected, rtol=0, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )
    assert [m.loss for m in metrics] == pytest.approx(plain[1], abs=1e-4)
    assert all(m.pairs == 11 and m.masked_share == pytest.approx(masked) for m in metrics)
    assert [m.learning_rate for m in metrics] == pytest.approx([0.5e-3, 1e-3, 1e-3, 0.75e-3, 0.5e-3])


@pytest.mark.processes
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_with_unequal_micro_batches_equal_one_plain_process(
    ranks, plain, plain_hard, plain_dimensions, plain_taught, tmp_path
):
    configs = [
        tiny(zero_stage=1, graph_tokens=0, loss_tile=2),
        tiny(zero_stage=1, graph_tokens=60),
        tiny(zero_stage=0, graph_tokens=10_000),
        with_groups(tiny(graph_tokens=60)),
        with_groups(with_dimensions(tiny(graph_tokens=60, loss_tile=2))),
        with_groups(with_teacher(tiny(graph_tokens=60))),
        with_precision(tiny(graph_tokens=60), "bf16"),
    ]
    by_rank = on_ranks(ranks, run_unequal, tmp_path, ranks, configs)
    counts = [[parts for _, _, parts in results] for results in by_rank]
    assert counts[0] != counts[1]
    for *exact, hard, dimensions, taught, bf16 in by_rank:
        assert_same(taught, plain_taught, MASKED_HARD)
        assert_same(hard, plain_hard, MASKED_HARD)
        assert_same(dimensions, plain_dimensions, MASKED_HARD)
        for found in exact:
            assert_same(found, plain)
        # Weights of 8 bits part ways soon, but their first gradient is of the same length.
        assert bf16[1][0].grad_norm == pytest.approx(exact[0][1][0].grad_norm, rel=0.02)


@pytest.mark.parametrize(
    "hardware",
    [
        {"micro_batch_tokens": 24, "graph_tokens": 0},
        {"micro_batch_tokens": 100, "graph_tokens": 150, "loss_tile": 3},
        {"gradient_checkpointing": True},
        {"zero_stage": 0},
        {},
    ],
    ids=str,
)
def test_any_budget_in_one_process_equals_the_plain_one(hardware, plain):
    assert_same(run(0, 1, tiny(**hardware)), plain)


def test_hard_negatives_in_one_process_equal_the_plain_one(plain_hard):
    assert_same(
        run(0, 1, with_groups(tiny(micro_batch_tokens=100, graph_tokens=150))), plain_hard, MASKED_HARD
    )


def gradients(config: Config) -> list[Tensor]:
    """The gradient that a step hands to the optimizer, by way of AdamW's first moment after one step."""
    engine = Engine(encoder_of(config), config, CPU)
    train_step(engine, pairs(0), config)
    with tempfile.TemporaryDirectory() as folder:
        engine.save(folder)
        with open_state(folder) as state:
            names = [name for name in state.moments.keys() if name.startswith("exp_avg.")]  # noqa: SIM118
            return [state.moments.get_tensor(name) for name in names]


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_cached_gradients_see_the_same_dropout(gradient_checkpointing):
    shared = {"micro_batch_tokens": 70, "gradient_checkpointing": gradient_checkpointing}
    direct = gradients(tiny(dropout=0.3, graph_tokens=100_000, **shared))
    cached = gradients(tiny(dropout=0.3, graph_tokens=0, **shared))
    without = gradients(tiny(dropout=0.0, graph_tokens=0, **shared))
    for a, b in zip(direct, cached, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)
    assert any((a - b).abs().max() > 1e-4 for a, b in zip(direct, without, strict=True))
