"""What the sections share: device, sizes, time, texts, and rows of figures."""

import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gte_ray.config import Config, HardwareConfig, ModelConfig
from gte_ray.data.batch import PairBatch, TokenLists
from gte_ray.recipes import recipe

VOCABULARY, PAD, LENGTH = 30_522, 0, 512
SEED = 0


@dataclass(frozen=True)
class Setup:
    """Where the measurements run, and how large they are."""

    device: torch.device
    small: bool
    """Whether sizes are those of a dry run, whose figures say nothing."""
    deadline: float
    """Of `time.monotonic`."""
    scratch: Path
    """A folder for files."""

    @property
    def gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def synchronize(self) -> None:
        """Wait for all that the device has been given."""
        if self.gpu:
            torch.cuda.synchronize(self.device)

    def reset_memory(self) -> None:
        gc.collect()
        if self.gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    @property
    def peak_bytes(self) -> int:
        """Most memory of the device at one time since `reset_memory`; 0 on a CPU, which counts none."""
        return torch.cuda.max_memory_allocated(self.device) if self.gpu else 0

    def seconds(self, call: Any) -> float:
        self.synchronize()
        begun = time.perf_counter()
        call()
        self.synchronize()
        return time.perf_counter() - begun


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    figure: str
    value: float | None = None
    reach: str = ""
    holds: bool | None = None


Rows = Iterator[Row]


def within(what: str, figure: str, value: float, least: float) -> Row:
    """A row whose value should be at least `least`, where that is above 0."""
    return (
        Row(what, figure, float(value))
        if least == 0
        else Row(what, figure, float(value), f">= {least:g}", bool(value >= least))
    )


def at_most(what: str, figure: str, value: float, most: float) -> Row:
    return Row(what, figure, float(value), f"<= {most:g}", bool(value <= most))


SIZES = {
    "gte-small": (384, 12, 12, 1_536),
    "gte-base": (768, 12, 12, 3_072),
    "gte-large": (1_024, 24, 16, 4_096),
}
"""Width, layers, heads and feed-forward width of the paper's models."""
SMALL_SIZES = (64, 2, 2, 128)


def model_config(name: str, small: bool) -> ModelConfig:
    """The sizes of one of the paper's models with random weights; tiny ones for a dry run."""
    hidden, layers, heads, intermediate = SMALL_SIZES if small else SIZES[name]
    vocabulary = 1_000 if small else VOCABULARY
    return ModelConfig("scratch", vocabulary, hidden, layers, heads, intermediate)


def step_config(setup: Setup, name: str, batch: int, precision: Any, **hardware: Any) -> Config:
    """The config of recipe `name` for one device and `batch` pairs."""
    paper = recipe(name, "")
    placed = HardwareConfig(gpu=setup.gpu, gradient_checkpointing=False, **hardware)
    return replace(
        paper,
        data=replace(paper.data, max_length=LENGTH),
        model=model_config(name, setup.small),
        training=replace(
            paper.training,
            steps=1_000,
            global_batch=batch,
            precision=precision,
            warmup=0.0,
            max_grad_norm=0.0,
        ),
        hardware=placed,
        seed=SEED,
    )


def random_pairs(batch: int, mean_tokens: int, vocabulary: int, seed: int = SEED) -> PairBatch:
    """Pairs of random tokens whose lengths are spread evenly from half to three halves of the mean, at most LENGTH."""
    random = np.random.default_rng(seed)
    low, high = (
        (mean_tokens, mean_tokens) if mean_tokens == LENGTH else (mean_tokens // 2, 3 * mean_tokens // 2)
    )

    def texts() -> TokenLists:
        lengths = np.minimum(random.integers(max(low, 2), high + 1, batch), LENGTH)
        values = random.integers(5, vocabulary, lengths.sum()).astype(np.int32)
        return TokenLists(values, np.concatenate([[0], np.cumsum(lengths)]))

    hashes = np.arange(2 * batch, dtype=np.uint64)
    return PairBatch(0, "bench", texts(), texts(), hashes[:batch], hashes[batch:])
