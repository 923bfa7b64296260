"""A run step by step in one plain process, without Ray: what every run of the same config must come to."""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from gte_ray.config import Config
from gte_ray.data.read import read_batch
from gte_ray.data.store import open_store
from gte_ray.model.load import build_encoder
from gte_ray.runs.plan import make_stream, plan_run, resolve_tokenizer
from gte_ray.train.engine import Engine
from gte_ray.train.step import train_step


@dataclass(frozen=True)
class Step:
    """What a step was of, and what came out."""

    number: int
    source: str
    loss: float
    digest: int


def reference(config: Config) -> list[Step]:
    """All steps of the run."""
    run = plan_run(config)
    stream, store = make_stream(run, resolve_tokenizer(run)), open_store(config.data.store)
    tokenizer, config = stream.tokenizer, run.config
    encoder = build_encoder(
        config.model, tokenizer.vocab_size, tokenizer.pad_id, config.data.max_length, config.seed
    )
    engine = Engine(encoder, config, torch.device("cpu"))
    found = []
    for step in range(config.training.steps):
        batch = read_batch(stream, store, run.plan[step])
        metrics = train_step(engine, batch, config)
        found.append(Step(step, batch.source, metrics.loss, metrics.digest))
    assert found[-1].loss < found[0].loss  # it learns, so equal losses mean equal weights
    return found


def steps_done(history: Path) -> list[Step]:
    """The steps that a run has written down, in the order in which it did them; some more than once."""
    lines = history.read_text().splitlines() if history.exists() else []
    return [Step(*json.loads(line)) for line in lines if line.endswith("]")]


def assert_same(found: list[Step], expected: list[Step]) -> None:
    """Every step was done, none out of turn, and each time with the batch and the loss that it should have."""
    assert {step.number for step in found} == set(range(len(expected)))
    for step in found:
        wanted = expected[step.number]
        assert (step.source, step.digest) == (wanted.source, wanted.digest)
        assert step.loss == pytest.approx(wanted.loss, abs=1e-4)
    for before, after in itertools.pairwise(found):
        assert after.number <= before.number + 1, "a step was skipped"
