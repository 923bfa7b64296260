"""The stream: Ray Data turns entries of the step plan into each rank's shard of each step.

One row of the dataset is one rank's whole shard of one step, and one block holds `steps_per_block` such
rows. Blocks come in the order (steps 0..K of rank 0, the same of rank 1, ..., then the next K steps), so that
`streaming_split(W, equal=True)`, which deals blocks of equal row counts in turn, gives block k to rank
k mod W: all ranks see the same step of the same source at the same time. As a row is a step, whatever its
number of pairs, any W works, also one that does not divide the batch.

A pass of Ray Data grows slower with its number of blocks, so a long run is several passes: datasets named
`pass-0`, `pass-1`, ..., built when the workers ask for them.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
import ray.train

from gte_ray.data.batch import PairBatch, TokenLists
from gte_ray.data.plan import Batch, PlanSource, StepPlan
from gte_ray.data.store import Store, open_store
from gte_ray.data.tokenize import TextTokenizer

PASS_BLOCKS = 2_000
"""Most blocks of one pass over the dataset; the cost of a block grows with their number."""
BLOCK_BYTES = 32 * 2**20
"""Size that a block of token ids is kept under, where one step is not larger by itself."""
MOST_STEPS_PER_BLOCK = 16
"""A block is read by one task: few steps make the first batch come early."""


@dataclass(frozen=True)
class StreamConfig:
    """All that a Ray task needs to make any batch of a run."""

    store: str
    sources: tuple[PlanSource, ...]
    alpha: float
    global_batch: int
    seed: int
    steps: int
    max_length: int
    tokenizer: TextTokenizer
    stored_ids: bool
    """Whether the token ids in the store are used; otherwise the texts are tokenised on the fly."""

    def plan(self) -> StepPlan:
        return StepPlan(
            self.sources,
            alpha=self.alpha,
            global_batch=self.global_batch,
            seed=self.seed,
            steps=self.steps,
        )

    def steps_per_block(self, world_size: int) -> int:
        shard_bytes = 2 * 4 * self.max_length * -(-self.global_batch // world_size)
        return int(np.clip(BLOCK_BYTES // shard_bytes, 1, MOST_STEPS_PER_BLOCK))

    def steps_per_pass(self, world_size: int) -> int:
        blocks = max(1, PASS_BLOCKS // world_size)
        return blocks * self.steps_per_block(world_size)


def read_batch(stream: StreamConfig, store: Store, batch: Batch) -> PairBatch:
    """The texts of `batch` (a shard or a whole global batch) as token ids, in plan order."""
    names = ("query_ids", "document_ids") if stream.stored_ids else ("query", "document")
    columns = [*names, "query_hash", "document_hash"]
    parts = [store.read_rows(batch.source, start, stop, columns) for start, stop in batch.spans]
    table = pa.concat_tables(parts).combine_chunks()
    queries, documents = (_tokens(stream, table.column(name)) for name in names)
    return PairBatch(
        batch.step,
        batch.source,
        queries,
        documents,
        table.column("query_hash").to_numpy(),
        table.column("document_hash").to_numpy(),
    )


def _tokens(stream: StreamConfig, column: pa.ChunkedArray) -> TokenLists:
    array = pa.concat_arrays(column.chunks)
    if stream.stored_ids:
        offsets = array.offsets.to_numpy()
        values = array.values.to_numpy()[offsets[0] : offsets[-1]]
        content = TokenLists(values, (offsets - offsets[0]).astype(np.int64))
        return stream.tokenizer.with_specials(content, stream.max_length)
    return stream.tokenizer.encode(array, stream.max_length)


def _read_block(block: dict[str, np.ndarray], stream: StreamConfig) -> pa.Table:
    """A Ray task: one plan entry (first step, steps, rank, world size) to one row for each step."""
    first, steps, rank, world_size = (int(block[k][0]) for k in ("first", "steps", "rank", "world_size"))
    plan, store = _cached_plan(_PlanKey(stream)), _cached_store(stream.store)
    return _to_table(
        [
            read_batch(stream, store, plan[step].shard(rank, world_size))
            for step in range(first, first + steps)
        ]
    )


class _PlanKey:
    """A StreamConfig that hashes without its tokenizer."""

    def __init__(self, stream: StreamConfig):
        self.stream = stream
        self._key = (stream.sources, stream.alpha, stream.global_batch, stream.seed, stream.steps)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _PlanKey) and self._key == other._key


@lru_cache(maxsize=4)
def _cached_plan(key: _PlanKey) -> StepPlan:
    return key.stream.plan()


@lru_cache(maxsize=4)
def _cached_store(uri: str) -> Store:
    return open_store(uri, check=False)


def _to_table(batches: list[PairBatch]) -> pa.Table:
    columns: dict[str, Any] = {
        "step": pa.array([batch.step for batch in batches], pa.int64()),
        "source": pa.array([batch.source for batch in batches], pa.string()),
    }
    for name in ("queries", "documents"):
        texts: list[TokenLists] = [getattr(batch, name) for batch in batches]
        starts = np.cumsum([0] + [text.offsets[-1] for text in texts])
        inner = np.concatenate(
            [[0], *(text.offsets[1:] + start for text, start in zip(texts, starts, strict=False))]
        )
        values = np.concatenate([text.values for text in texts]).astype(np.int32, copy=False)
        lists = pa.LargeListArray.from_arrays(pa.array(inner, pa.int64()), pa.array(values, pa.int32()))
        columns[name] = pa.LargeListArray.from_arrays(_offsets([len(text) for text in texts]), lists)
    for name in ("query_hashes", "document_hashes"):
        hashes = [getattr(batch, name) for batch in batches]
        columns[name] = pa.LargeListArray.from_arrays(
            _offsets([len(h) for h in hashes]), pa.array(np.concatenate(hashes), pa.uint64())
        )
    return pa.table(columns)


def _offsets(lengths: list[int]) -> pa.Array:
    return pa.array(np.cumsum([0, *lengths]), pa.int64())


def _from_table(row: pa.Table) -> PairBatch:
    def tokens(name: str) -> TokenLists:
        lists = row.column(name).combine_chunks().flatten()
        offsets = lists.offsets.to_numpy()
        values = lists.values.to_numpy()[offsets[0] : offsets[-1]]
        return TokenLists(values, offsets - offsets[0])

    def hashes(name: str) -> np.ndarray:
        return row.column(name).combine_chunks().flatten().to_numpy()

    return PairBatch(
        row.column("step")[0].as_py(),
        row.column("source")[0].as_py(),
        tokens("queries"),
        tokens("documents"),
        hashes("query_hashes"),
        hashes("document_hashes"),
    )


def build_dataset(stream: StreamConfig, world_size: int, first: int, last: int) -> ray.data.Dataset:
    """Shards of steps first <= t < last for all ranks, in the order in which they are dealt out."""
    size = stream.steps_per_block(world_size)
    entries = [
        {"first": step, "steps": min(size, last - step), "rank": rank, "world_size": world_size}
        for step in range(first, last, size)
        for rank in range(world_size)
    ]
    # Tasks rather than an actor pool: an actor pool holds CPUs for ever and comes up later.
    dataset = ray.data.from_items(entries, override_num_blocks=len(entries))
    return dataset.map_batches(
        partial(_read_block, stream=stream), batch_size=None, batch_format="numpy", num_cpus=1
    )


class PlanDataConfig(ray.train.DataConfig):
    """Builds a pass for the actual number of workers each time a worker group starts or grows.

    `start_step` is called then, and gives the first step that is not yet in a checkpoint.
    """

    def __init__(self, stream: StreamConfig, start_step: Callable[[], int]):
        super().__init__()
        self.stream = stream
        self.start_step = start_step

    def configure(self, datasets, world_size, worker_handles, worker_node_ids, **kwargs):
        (name,) = datasets
        length = self.stream.steps_per_pass(world_size)
        number = int(name.removeprefix("pass-"))
        first = max(number * length, self.start_step())
        last = min((number + 1) * length, self.stream.steps)
        dataset = build_dataset(self.stream, world_size, first, last)
        dataset.context.execution_options = ray.data.ExecutionOptions(preserve_order=True)
        return [{name: split} for split in dataset.streaming_split(world_size, equal=True)]


def placeholders(stream: StreamConfig, most_workers: int) -> dict[str, Callable[[], ray.data.Dataset]]:
    """The `datasets` of a TorchTrainer: a name for each pass that up to `most_workers` workers need."""
    shortest = min(stream.steps_per_pass(workers) for workers in range(1, most_workers + 1))
    passes = -(-stream.steps // shortest)
    return {f"pass-{number}": _nothing for number in range(passes)}


def _nothing() -> ray.data.Dataset:
    return ray.data.range(1)


class Batches:
    """Inside a Ray Train worker: this rank's shards of steps start, start + 1, ... to the last.

    A thread begins to read at once, while the worker still builds its model, and stays two steps ahead.
    Iterating raises RuntimeError when a step does not come in its turn: it would train on another order.
    """

    def __init__(self, stream: StreamConfig, world_size: int, start: int):
        self.waited = 0.0
        """Seconds that the worker has waited for the last batch."""
        self._ready: queue.Queue[PairBatch | BaseException | None] = queue.Queue(maxsize=2)
        self._source = _batches(stream, world_size, start)
        threading.Thread(target=self._fill, name="stream", daemon=True).start()

    def __iter__(self) -> Iterator[PairBatch]:
        while True:
            begun = time.perf_counter()
            batch = self._ready.get()
            self.waited = time.perf_counter() - begun
            if batch is None:
                return
            if isinstance(batch, BaseException):
                raise batch
            yield batch

    def _fill(self) -> None:
        try:
            for batch in self._source:
                self._ready.put(batch)
            self._ready.put(None)
        except BaseException as error:
            self._ready.put(error)


def _batches(stream: StreamConfig, world_size: int, start: int) -> Iterator[PairBatch]:
    length = stream.steps_per_pass(world_size)
    expected = start
    while expected < stream.steps:
        shard = ray.train.get_dataset_shard(f"pass-{expected // length}")
        end = min((expected // length + 1) * length, stream.steps)
        for row in shard.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=2):
            batch = _from_table(row)
            if batch.step < expected:
                continue  # the pass was built from an earlier checkpoint
            if batch.step > expected:
                raise RuntimeError(f"the stream gave step {batch.step} where step {expected} was due")
            yield batch
            expected += 1
        if expected < end:
            raise RuntimeError(f"the stream ended before step {expected} of {stream.steps}")
