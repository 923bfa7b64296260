"""Forecasts what a run takes before it starts: tokens, memory of a worker, time.

Memory follows from sizes and is close. Time assumes a stated share of the device's peak and is rough.
"""

import time
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc

from gte_ray.config import Config
from gte_ray.data.step_plan import StepPlan
from gte_ray.data.store import Store
from gte_ray.runs.shape import Shape, loaded_shape, model_shape

A100_FLOPS = 312e12
"""Peak of one A100 in fp16 or bf16, operations per second (NVIDIA's data sheet)."""
A100_UTILISATION = 0.35
"""Share of the peak that encoders of these sizes are assumed to reach; not measured."""
ENGLISH_CHARACTERS_PER_TOKEN = 4.5
"""Of English text under a WordPiece vocabulary of 30,000 entries."""
SPECIAL_TOKENS = 2
"""At the ends of a text, in the BERT family."""
LENGTH_ROWS = 512
"""Rows of each source from which text lengths are estimated."""


@dataclass(frozen=True)
class Forecast:
    """The forecast of a run, in bytes and seconds. Figures are per run unless stated otherwise."""

    shape: Shape
    tokens_per_text: float
    lengths: str
    """Where the lengths of texts come from, in words."""
    tokens: float
    state_bytes: float
    """Weights, gradients and optimizer state of one worker, and the weights of a guide."""
    activation_bytes: float
    """Kept and current activations of one worker."""
    loss_bytes: float
    """Gathered embeddings and one tile of similarities of one worker."""
    seconds: float
    assumption: str

    @property
    def worker_bytes(self) -> float:
        return self.state_bytes + self.activation_bytes + self.loss_bytes


class TextLengths(NamedTuple):
    """Mean tokens of a text, special tokens included, cut as in training."""

    query: float
    document: float
    source: str
    """Where they come from, in words."""


def forecast(config: Config, store: Store, plan: StepPlan) -> Forecast:
    """The forecast of a run. Reads a few hundred rows of each source."""
    by_source = np.array([_tokens(config, store, source.name) for source in plan.sources])
    source = (
        f"the store's token ids, {LENGTH_ROWS} rows of each source"
        if _has_ids(config, store)
        else f"characters, {ENGLISH_CHARACTERS_PER_TOKEN} to a token as in English"
    )
    query, document = plan.source_steps() @ by_source / plan.steps
    lengths = TextLengths(float(query), float(document), source)
    guide = loaded_shape(config.objective.guide) if config.objective.guide else None
    found = forecast_of(config, model_shape(config), lengths, guide)
    if config.objective.guide and guide is None:
        return replace(
            found, assumption=f"{found.assumption}; without the guide, which cannot be reached from here"
        )
    return found


def forecast_of(config: Config, shape: Shape, lengths: TextLengths, guide: Shape | None = None) -> Forecast:
    """The forecast of a run of a model of this shape, over texts of these lengths."""
    steps, pairs = config.training.steps, config.training.steps * config.training.global_batch
    tokens = float(lengths.query + config.data.group_size * lengths.document) * pairs
    flops_per_second, assumption = _speed(config)
    return Forecast(
        shape=shape,
        tokens_per_text=tokens / ((1 + config.data.group_size) * pairs),
        lengths=lengths.source,
        tokens=tokens,
        state_bytes=_state_bytes(config, shape) + _guide_bytes(config, guide),
        activation_bytes=_activation_bytes(config, shape, tokens / steps),
        loss_bytes=_loss_bytes(config, shape, guide),
        seconds=(_flops(config, shape, tokens, steps) + _guide_flops(guide, tokens))
        / (flops_per_second * config.hardware.workers.most),
        assumption=assumption,
    )


def _guide_bytes(config: Config, guide: Shape | None) -> float:
    """Weights of a guide, which has neither gradients nor optimizer state."""
    half = config.hardware.gpu and config.training.precision != "fp32"
    return 0.0 if guide is None else guide.parameters * (2 if half else 4)


def _guide_flops(guide: Shape | None, tokens: float) -> float:
    """Its one pass over the texts, in about as many tokens as the model's."""
    return 0.0 if guide is None else 2 * guide.layer_parameters * tokens


def _has_ids(config: Config, store: Store) -> bool:
    """Whether the store has token ids of texts as long as the run's."""
    tokenizer = store.manifest.tokenizer
    return tokenizer is not None and tokenizer.max_length >= config.data.max_length


def _tokens(config: Config, store: Store, source: str) -> tuple[float, float]:
    """Mean tokens of a query and of a document of `source`, special tokens included, cut as in training."""
    rows = min(LENGTH_ROWS, store.source(source).rows)
    stored = _has_ids(config, store)
    table = store.read_rows(
        source, 0, rows, [f"{name}_ids" if stored else name for name in ("query", "document")]
    )
    means = []
    for column in table.columns:
        if stored:
            lengths = pc.list_value_length(column).to_numpy()
        else:
            lengths = pc.utf8_length(column).to_numpy() / ENGLISH_CHARACTERS_PER_TOKEN
        means.append(float(np.minimum(lengths + SPECIAL_TOKENS, config.data.max_length).mean()))
    return means[0], means[1]


def _state_bytes(config: Config, shape: Shape) -> float:
    half = config.training.precision != "fp32"
    shards = config.hardware.workers.most if config.hardware.zero_stage == 1 else 1
    weights_and_gradients = (2 + 2) if half else (4 + 4)
    # The fp32 master copy and AdamW's two moments.
    if config.model.lora_rank:  # the base's weights alone, and all of the adapters
        adapters = (
            config.model.lora_rank * shape.layers * (10 * shape.hidden_size + 2 * shape.intermediate_size)
        )
        return shape.parameters * weights_and_gradients / 2 + adapters * (weights_and_gradients + 12 / shards)
    return shape.parameters * (weights_and_gradients + 12 / shards)


def _activation_bytes(config: Config, shape: Shape, step_tokens: float) -> float:
    unit = 4 if config.training.precision == "fp32" else 2
    # Inputs of each matrix product, GELU and normalisation of a layer; attention itself keeps no matrix.
    per_layer = unit * (9 * shape.hidden_size + 2 * shape.intermediate_size)
    if config.hardware.gradient_checkpointing:
        per_token = shape.layers * unit * shape.hidden_size + per_layer
    else:
        per_token = shape.layers * per_layer
    local = step_tokens / config.hardware.workers.most
    kept = min(local, config.hardware.graph_tokens)
    current = min(local - kept, config.hardware.micro_batch_tokens)
    return per_token * (kept + current)


def _loss_bytes(config: Config, shape: Shape, guide: Shape | None) -> float:
    batch = config.training.global_batch
    documents = batch * config.data.group_size
    embeddings = (batch + documents) * shape.hidden_size * 4 * 2 * _levels(config)  # with their gradients
    rows = min(config.hardware.loss_tile, batch / config.hardware.workers.most)
    tiles = 4 * rows * _loss_columns(config)
    if guide is not None:  # its vectors, without gradients, and a tile of its similarities
        embeddings += (batch + documents) * guide.hidden_size * 4
        tiles *= 2
    return embeddings + tiles


def _levels(config: Config) -> float:
    """Dimensions over which the loss is taken, all together, as a multiple of the embedding's own."""
    dimensions = config.objective.dimensions
    return sum(dimensions) / max(dimensions) if dimensions else 1.0


def _loss_columns(config: Config) -> int:
    """Number of similarities of one pair, over all directions."""
    batch, documents = config.training.global_batch, config.training.global_batch * config.data.group_size
    return sum(documents if name[2] == "d" else batch for name in config.objective.directions)


def _flops(config: Config, shape: Shape, tokens: float, steps: int) -> float:
    forward = 2 * shape.layer_parameters
    passes = 3.0 + (1.0 if config.hardware.gradient_checkpointing else 0.0)
    kept = min(1.0, config.hardware.graph_tokens * config.hardware.workers.most * steps / tokens)
    passes += 1.0 - kept  # the second forward pass of gradient caching
    loss = (
        steps
        * config.training.global_batch
        * _loss_columns(config)
        * shape.hidden_size
        * 2
        * 3
        * _levels(config)
    )
    return forward * passes * tokens + loss


def _speed(config: Config) -> tuple[float, str]:
    """Operations per second of one worker, and the assumption behind them in words."""
    if config.hardware.gpu:
        return (
            A100_FLOPS * A100_UTILISATION,
            f"A100s at {A100_UTILISATION:.0%} of their peak, reading of data hidden",
        )
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(config.hardware.threads)
    rate = _matrix_rate(torch.bfloat16 if config.training.precision == "bf16" else torch.float32)
    torch.set_num_threads(threads)
    return 0.4 * rate, f"this CPU at 40% of the {rate / 1e9:,.0f} GFLOP/s of its matrix product"


def _matrix_rate(dtype: Any, size: int = 768, repeats: int = 12) -> float:
    import torch

    a, b = torch.rand(size, size).to(dtype), torch.rand(size, size).to(dtype)
    a @ b
    begun = time.perf_counter()
    for _ in range(repeats):
        a @ b
    return repeats * 2 * size**3 / (time.perf_counter() - begun)
