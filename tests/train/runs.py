"""Small runs, and processes to do them in, for the tests of the training step."""

import multiprocessing
import os
import pickle
import socket
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from gte_ray.config import Config, HardwareConfig, ModelConfig, ObjectiveConfig, PairsConfig, TrainingConfig
from gte_ray.data.batch import PairBatch, TokenLists
from gte_ray.model.encoder import Encoder
from gte_ray.model.load import build_encoder

VOCABULARY, LENGTH = 60, 24
EPSILON = 1e-5
"""AdamW's. A gradient below it is rounding, which AdamW would divide by itself: steps of another size on each processor."""
CPU = torch.device("cpu")


def tiny(dropout: float = 0.0, **hardware: Any) -> Config:
    """A run of six steps of a model of two layers; the gradient norm is far above the clipping bound."""
    return Config(
        recipe="test",
        data=PairsConfig("store", max_length=LENGTH),
        model=ModelConfig(
            "scratch",
            hidden_size=32,
            layers=2,
            heads=2,
            intermediate_size=48,
            hidden_dropout=dropout,
            attention_dropout=dropout,
        ),
        objective=ObjectiveConfig(),
        training=TrainingConfig(
            steps=6,
            global_batch=11,
            learning_rate=1e-3,
            warmup=0.4,
            adam_epsilon=EPSILON,
            precision="fp32",
        ),
        hardware=HardwareConfig(gpu=False, **hardware),
        seed=5,
    )


def with_groups(config: Config) -> Config:
    """`config` with hard negatives, those of `pairs`."""
    return replace(config, data=replace(config.data, group_size=4))


def with_dimensions(config: Config) -> Config:
    """`config` with two embeddings of fewer dimensions."""
    objective = replace(config.objective, dimensions=(32, 12, 5), dimension_weights=(1.0, 0.5, 0.25))
    return replace(config, objective=objective)


def with_teacher(config: Config) -> Config:
    """`config` with a loss to the scores that `pairs` have for their groups."""
    return replace(config, objective=replace(config.objective, teacher_weight=0.5, teacher_temperature=0.5))


def with_precision(config: Config, precision: Any) -> Config:
    return replace(config, training=replace(config.training, precision=precision))


def encoder_of(config: Config) -> Encoder:
    return build_encoder(config.model, VOCABULARY, 0, LENGTH, config.seed)


def pairs(step: int, n: int = 11, hard: bool = False, taught: bool = False) -> PairBatch:
    """A step's pairs, of mixed lengths; one query occurs twice, and one text as a query and as a document.

    With `hard`, pair i has i modulo 4 hard negatives, one of which is the document of another pair. With `taught`, all
    texts but some of these have the scores of a teacher.
    """
    random = np.random.default_rng(step)
    owners = np.repeat(np.arange(n), np.arange(n) % 4 if hard else 0)
    size = 2 * n + len(owners)
    texts = [random.integers(3, VOCABULARY, random.integers(2, LENGTH + 1)) for _ in range(size)]
    texts[4] = texts[1]
    texts[n + 7] = texts[2]
    if hard:
        texts[-1] = texts[n + 3]
    hashes = np.array([zlib.crc32(text.tobytes()) for text in texts], np.uint64)
    parts = np.split(hashes, [n, 2 * n])
    q, d, negatives = lists(texts[:n]), lists(texts[n : 2 * n]), lists(texts[2 * n :])
    scores = []
    if taught:
        scores = [random.normal(size=size).astype(np.float32) for size in (n, len(owners))]
        scores[1][::4] = np.nan
    return PairBatch(step, "source", q, d, parts[0], parts[1], negatives, parts[2], owners, *scores)


def lists(texts: list[np.ndarray]) -> TokenLists:
    offsets = np.cumsum([0, *(len(text) for text in texts)])
    return TokenLists(np.concatenate([np.empty(0), *texts]).astype(np.int32), offsets)


def texts_of(tokens: TokenLists) -> list[np.ndarray]:
    return np.split(tokens.values, tokens.offsets[1:-1])


def shard(batch: PairBatch, rank: int, ranks: int) -> PairBatch:
    """Neighbouring rows for each rank, by one more or less where they do not divide."""
    n = len(batch.queries)
    own = slice(rank * n // ranks, (rank + 1) * n // ranks)
    hard = (batch.negative_owners >= own.start) & (batch.negative_owners < own.stop)
    negatives = [text for text, kept in zip(texts_of(batch.negatives), hard, strict=False) if kept]
    return PairBatch(
        batch.step,
        batch.source,
        lists(texts_of(batch.queries)[own]),
        lists(texts_of(batch.documents)[own]),
        batch.query_hashes[own],
        batch.document_hashes[own],
        lists(negatives),
        batch.negative_hashes[hard],
        batch.negative_owners[hard] - own.start,
        *([batch.document_scores[own], batch.negative_scores[hard]] if len(batch.document_scores) else []),
    )


def on_ranks(ranks: int, function: Callable[..., Any], folder: Path, *args: Any) -> list[Any]:
    """What `function(rank, *args)` returned in each of `ranks` processes that are joined by gloo."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Processes are forked from one that has imported everything, which takes longer than a test does.
    multiprocessing.set_forkserver_preload(["tests.train.imports"])
    mp.start_processes(_enter, (ranks, port, function, folder, args), ranks, start_method="forkserver")
    return [pickle.loads((folder / f"{function.__name__}-{rank}").read_bytes()) for rank in range(ranks)]


def _enter(rank: int, ranks: int, port: int, function: Callable[..., Any], folder: Path, args: Any) -> None:
    os.environ["LOCAL_RANK"] = str(rank)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
    result = function(rank, *args)
    (folder / f"{function.__name__}-{rank}").write_bytes(pickle.dumps(result))
    dist.destroy_process_group()
