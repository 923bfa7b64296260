"""One training step: against sentence-transformers' cached loss, and its own overhead.

python -m benchmarks.step [--pairs FOLDER_OF_PARQUET] [--layers 4 --hidden 256] [--batch 512] [--threads 2]

Weights, pairs, dropout, optimizer and threads are the same for both. sentence-transformers can cut its
mini-batches by rows or by tokens; both are measured, and the faster one counts.
"""

import argparse
import glob
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses, modules
from torch import Tensor, nn

from benchmarks.loss import best_seconds
from gte_ray.config import Config, HardwareConfig, ModelConfig, ObjectiveConfig, PairsConfig, TrainingConfig
from gte_ray.data.batch import PairBatch, TokenLists
from gte_ray.data.tokenize import train_wordpiece
from gte_ray.model.encoder import Encoder
from gte_ray.model.load import build_encoder
from gte_ray.model.microbatch import join
from gte_ray.train import step as step_module
from gte_ray.train.engine import Engine
from gte_ray.train.step import train_step

LENGTH, VOCABULARY, PAD = 128, 30_522, 0
MICRO_BATCH_TOKENS = 8_192
CPU = torch.device("cpu")


def build_config(layers: int, hidden: int, batch: int) -> Config:
    return Config(
        recipe="bench",
        data=PairsConfig("", max_length=LENGTH),
        model=ModelConfig("scratch", VOCABULARY, hidden, layers, hidden // 32, 4 * hidden),
        objective=ObjectiveConfig(),
        training=TrainingConfig(1_000, batch, 1e-4, precision="fp32"),
        hardware=HardwareConfig(gpu=False, micro_batch_tokens=MICRO_BATCH_TOKENS, loss_tile=256),
    )


def synthetic_pairs(batch: int) -> PairBatch:
    """Pairs of random tokens: queries of 8 to 32 tokens and documents of 10 to 128."""
    random = np.random.default_rng(0)

    def texts(low: int, high: int) -> TokenLists:
        lengths = random.integers(low, high + 1, batch)
        values = random.integers(5, VOCABULARY, lengths.sum()).astype(np.int32)
        return TokenLists(values, np.concatenate([[0], np.cumsum(lengths)]))

    return _batch(texts(8, 32), texts(10, LENGTH))


def real_pairs(folder: str, batch: int) -> PairBatch:
    """Equally many pairs from each Parquet file in `folder`, tokenised with a vocabulary trained on them."""
    files = sorted(glob.glob(f"{folder}/*.parquet"))
    rows = [pq.read_table(f, columns=["query", "document"]).slice(0, -(-batch // len(files))) for f in files]
    queries = [text for table in rows for text in table["query"].to_pylist()][:batch]
    documents = [text for table in rows for text in table["document"].to_pylist()][:batch]
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = train_wordpiece(queries + documents, VOCABULARY, scratch)
    return _batch(tokenizer.encode(queries, LENGTH), tokenizer.encode(documents, LENGTH))


def _batch(queries: TokenLists, documents: TokenLists) -> PairBatch:
    hashes = np.arange(2 * len(queries), dtype=np.uint64)
    return PairBatch(0, "bench", queries, documents, hashes[: len(queries)], hashes[len(queries) :])


class Backbone(nn.Module):
    """A transformers model as the first module of a SentenceTransformer."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.backbone = encoder.backbone
        self.backbone.set_attn_implementation("sdpa")

    def forward(self, features: dict[str, Tensor], **_: object) -> dict[str, Tensor]:
        states = self.backbone(input_ids=features["input_ids"], attention_mask=features["attention_mask"])
        return features | {"token_embeddings": states.last_hidden_state}


def peer_step(
    config: Config, batch: PairBatch, device: torch.device = CPU, **mini_batches: int
) -> Callable[[], None]:
    """A step of sentence-transformers: loss, backward, clipping, AdamW; on a GPU with weights in float32 under bf16."""
    encoder = build_encoder(config.model, config.model.vocab_size, PAD, config.data.max_length, config.seed)
    hidden = config.model.hidden_size
    model = SentenceTransformer(
        modules=[Backbone(encoder), modules.Pooling(hidden, "mean"), modules.Normalize()], device=str(device)
    )
    loss = losses.CachedMultipleNegativesRankingLoss(
        model,
        scale=1 / config.objective.temperature,
        directions=("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc"),
        **mini_batches,
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    columns = [_padded(tokens, device) for tokens in (batch.queries, batch.documents)]
    model.train()

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            value = loss([dict(column) for column in columns], torch.empty(0))
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _padded(tokens: TokenLists, device: torch.device) -> dict[str, Tensor]:
    real = np.arange(tokens.lengths.max()) < tokens.lengths[:, None]
    ids = np.full(real.shape, PAD, np.int64)
    ids[real] = tokens.values
    return {
        "input_ids": torch.from_numpy(ids).to(device),
        "attention_mask": torch.from_numpy(real.astype(np.int64)).to(device),
    }


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


class Clock:
    """Adds up the time of the calls that it wraps."""

    def __init__(self) -> None:
        self.total = 0.0

    def wrap(self, call: Callable) -> Callable:
        def wrapped(*args, **kwargs):
            begun = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.total += time.perf_counter() - begun

        return wrapped


def outside_share(engine: Engine, config: Config, batch: PairBatch, repeats: int) -> float:
    """Share of a step outside encoder forward, backward and optimizer: the smallest over the repeats."""
    clock, encode = Clock(), step_module._encode
    step_module._encode = clock.wrap(encode)
    engine.backward, engine.step = clock.wrap(engine.backward), clock.wrap(engine.step)  # type: ignore
    shares = []
    for _ in range(repeats):
        clock.total = 0.0
        whole = _seconds(lambda: train_step(engine, batch, config))
        shares.append(1 - clock.total / whole)
    step_module._encode = encode
    del engine.backward, engine.step
    return min(shares)


def measure(
    pairs: str = "", layers: int = 4, hidden: int = 256, batch: int = 512, threads: int = 2, repeats: int = 3
) -> list[dict]:
    """Rows of figures as `make bench` prints them.

    `pairs` is a folder of Parquet files with columns query and document, or empty for random tokens of mixed
    lengths.
    """
    torch.set_num_threads(threads)
    config = build_config(layers, hidden, batch)
    data = real_pairs(pairs, batch) if pairs else synthetic_pairs(batch)
    texts = join(data.queries, data.documents)
    kept = Engine(build_encoder(config.model, VOCABULARY, PAD, LENGTH, config.seed), config, CPU)
    cached = replace(config, hardware=replace(config.hardware, graph_tokens=0))
    steps: dict[str, Callable[[], object]] = {
        "kept": lambda: train_step(kept, data, config),
        "cached": lambda: train_step(kept, data, cached),
        "rows": peer_step(config, data, mini_batch_size=32),
        "tokens": peer_step(config, data, mini_batch_num_tokens=MICRO_BATCH_TOKENS),
    }
    for step in steps.values():
        step()  # the first call creates the optimizer's state
    seconds = dict(zip(steps, best_seconds(list(steps.values()), repeats), strict=True))
    outside = outside_share(kept, config, data, repeats)
    peer = min(seconds["rows"], seconds["tokens"])
    where = f"{layers} layers x {hidden}, batch {batch}, {len(texts.values) / len(texts):.0f} tokens a text"
    speed = {name: batch / s for name, s in seconds.items()}
    rates = f"{speed['rows']:.0f} by rows, {speed['tokens']:.0f} by tokens"
    return [
        _row(f"step against sentence-transformers ({where})", peer / seconds["kept"], 1.5,
             f"{peer / seconds['kept']:.2f} x ({speed['kept']:.0f} : {rates} pairs/s)"),
        _row(f"the same, every text encoded twice ({where})", peer / seconds["cached"], None,
             f"{peer / seconds['cached']:.2f} x ({speed['cached']:.0f} pairs/s)"),
        _row("step, time outside encoder and optimizer", outside, -0.10, f"{outside:.1%}"),
    ]  # fmt: skip


def _row(what: str, value: float, reach: float | None, figure: str) -> dict:
    """`reach` is the least allowed value, or the greatest one negated, or None for a figure without a limit."""
    if reach is None:
        return {"what": what, "figure": figure, "value": value, "reach": "", "holds": ""}
    words = f">= {reach} x" if reach > 0 else f"<= {-reach:.0%}"
    holds = value >= reach if reach > 0 else value <= -reach
    return {"what": what, "figure": figure, "value": value, "reach": words, "holds": "yes" if holds else "no"}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", default="")
    for name, default in (("layers", 4), ("hidden", 256), ("batch", 512), ("threads", 2), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    for row in measure(**vars(parser.parse_args())):
        print(f"{row['what']:92} {row['figure']:58} {row['reach']:9} {row['holds']}")
