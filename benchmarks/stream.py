"""The stream under real Ray: how fast it yields token ids, and how much padding its batches need."""

import argparse
import tempfile
import time
from pathlib import Path

import ray.data

from gte_ray.data.builtin import prepare_builtin
from gte_ray.data.ids import Ids
from gte_ray.data.mixture import PlanSource
from gte_ray.data.prepare_store import prepare
from gte_ray.data.read import StreamConfig, read_batch
from gte_ray.data.store import Store
from gte_ray.data.stream import PlanDataConfig
from gte_ray.model.microbatch import join, micro_batches
from gte_ray.readers.spec import SourceSpec
from gte_ray.runtime.cluster import start_ray

BATCH, LENGTH, MICRO_BATCH_TOKENS = 2_048, 128, 8_192


def measure(pairs: str = "") -> list[dict[str, str]]:
    """Pairs per second and core for both sources of token ids, and shares of padding."""
    start_ray(0, verbose=False)
    with tempfile.TemporaryDirectory() as folder:
        ids = Ids(vocabulary=16_384, max_length=LENGTH)
        if pairs:
            files = sorted(Path(pairs).glob("*.parquet"))
            sources = [SourceSpec(path.stem, str(path), "others") for path in files]
            store = prepare(f"{folder}/store", sources, ids=ids)
        else:
            store = prepare_builtin(f"{folder}/store", ids, lambda phase, count: None)
        return [
            _row("stream, tokenising on the fly", _rate(store, False, steps=12), 2_000),
            _row("stream, from stored ids", _rate(store, True, steps=200), 20_000),
            _padding_row("padding, packed (BERT)", _padding(store, packed=True)),
            _padding_row("padding, where texts cannot be packed", _padding(store, packed=False)),
        ]


def _stream(store: Store, stored_ids: bool, global_batch: int, steps: int) -> StreamConfig:
    return StreamConfig(
        store=store.uri,
        sources=tuple(PlanSource(source.name, source.rows) for source in store.manifest.sources),
        alpha=0.5,
        global_batch=global_batch,
        seed=1,
        steps=steps,
        max_length=LENGTH,
        tokenizer=store.load_tokenizer(),
        stored_ids=stored_ids,
    )


def _rate(store: Store, stored_ids: bool, steps: int) -> float:
    """Pairs per second over all batches, start included, divided by the cores that tasks may take."""
    stream = _stream(store, stored_ids, BATCH, steps)
    (split,) = PlanDataConfig(stream, lambda: 0).configure({"pass-0": ray.data.range(1)}, 1, None, None)
    rows = iter(split["pass-0"].iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=2))
    begun = time.perf_counter()
    count = sum(1 for _ in rows)
    assert count == steps
    cores = ray.cluster_resources()["CPU"]
    return count * BATCH / (time.perf_counter() - begun) / cores


def _padding(store: Store, packed: bool, global_batch: int = 512, steps: int = 20) -> float:
    """Share of padding among the tokens that go through the encoder, over batches of all sources."""
    stream = _stream(store, True, global_batch, steps)
    real = computed = 0
    for batch in stream.plan():
        pairs = read_batch(stream, store, batch)
        for part in micro_batches(join(pairs.queries, pairs.documents), MICRO_BATCH_TOKENS, packed):
            real += part.tokens
            computed += part.tokens if packed else part.padded_tokens
    return 1 - real / computed


def _padding_row(what: str, share: float) -> dict[str, str]:
    return {
        "what": what,
        "figure": f"{share:.1%}",
        "reach": "<= 5%",
        "holds": "yes" if share <= 0.05 else "no",
    }


def _row(what: str, rate: float, reach: int) -> dict[str, str]:
    return {
        "what": what,
        "figure": f"{rate:,.0f} pairs/s per core, start included",
        "reach": f">= {reach:,}",
        "holds": "yes" if rate >= reach else "no",
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", default="", help="folder of Parquet files with columns query, document")
    for row in measure(parser.parse_args().pairs):
        print(row)
