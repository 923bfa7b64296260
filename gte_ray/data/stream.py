"""The stream: Ray Data turns entries of the step plan into each rank's shard of each step.

One row of the dataset is one rank's whole shard of one step, and one block holds `steps_per_block` such rows.
Blocks are in the order (K steps of rank 0, the same K steps of rank 1, ..., then the next K steps).
`streaming_split(W, equal=True)` deals out blocks of equal row counts in turn, so block k goes to rank
k mod W. All ranks therefore see the same step of the same source at the same time. A row is one step however
many pairs it has, so any number of ranks W works, even one that does not divide the batch.

Where shards are small, neighbouring ranks' rows are in the same row groups. One task then reads a block for each of
`ranks_per_task` ranks: each step's pairs at once, cut into shards afterwards.

A pass of Ray Data gets slower with its number of blocks, so a long run is split into several passes: datasets
named `pass-0`, `pass-1`, ..., built when the workers request them.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pyarrow as pa
import ray.data
import ray.train

from gte_ray.data.batch import PairBatch, from_table, to_table
from gte_ray.data.read import StreamConfig, cached_plan, cached_store, read_shards
from gte_ray.runtime.pool import LOST_TASK_RETRIES, without_deprecations


def _read_blocks(entry: dict[str, np.ndarray], stream: StreamConfig) -> Iterator[pa.Table]:
    """A Ray task: turns a plan entry (first step, steps, rank, ranks, world size) into a table for each rank.

    A table has one row per step.
    """
    first, steps, rank, ranks, world_size = (
        int(entry[key][0]) for key in ("first", "steps", "rank", "ranks", "world_size")
    )
    plan, store, group = cached_plan(stream), cached_store(stream.store), range(rank, rank + ranks)
    shards = [
        read_shards(stream, store, plan[step], group, world_size) for step in range(first, first + steps)
    ]
    for of_rank in zip(*shards, strict=True):
        yield to_table(of_rank)


def build_dataset(stream: StreamConfig, world_size: int, first: int, last: int) -> ray.data.Dataset:
    """Dataset of all ranks' shards of steps first <= t < last, in the order in which they are dealt out."""
    size, ranks = min(stream.steps_per_block(world_size), last - first), stream.ranks_per_task(world_size)
    entries = _entries(size, ranks, world_size, first, last)
    # Tasks rather than an actor pool: an actor pool starts later and holds its CPUs for ever.
    dataset = ray.data.from_items(entries, override_num_blocks=len(entries))
    with without_deprecations():
        dataset = dataset.map_batches(
            partial(_read_blocks, stream=stream),
            batch_size=None,
            batch_format="numpy",
            num_cpus=1,
            max_retries=LOST_TASK_RETRIES,
        )
    # Ray Data makes one block of all that a task yields, and cuts it again in a task of its own.
    return dataset.repartition(target_num_rows_per_block=size) if ranks > 1 else dataset


def _entries(size: int, ranks: int, world_size: int, first: int, last: int) -> list[dict[str, int]]:
    """A row for each task: `size` steps of `ranks` neighbouring ranks.

    The last steps, where they are fewer, are of a rank each: a task's rows are cut at multiples of `size` alone.
    """
    entries = []
    for step in range(first, last, size):
        steps = min(size, last - step)
        together = ranks if steps == size else 1
        for rank in range(0, world_size, together):
            among = min(together, world_size - rank)
            entries.append(
                {"first": step, "steps": steps, "rank": rank, "ranks": among, "world_size": world_size}
            )
    return entries


class PlanDataConfig(ray.train.DataConfig):
    """Builds a pass for the actual number of workers each time a worker group starts or grows.

    `start_step` is called then, and returns the first step that is not yet in a checkpoint.
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
    """The `datasets` of a TorchTrainer: one name for each pass that up to `most_workers` workers need."""
    shortest = min(stream.steps_per_pass(workers) for workers in range(1, most_workers + 1))
    passes = -(-stream.steps // shortest)
    return {f"pass-{number}": _nothing for number in range(passes)}


def _nothing() -> ray.data.Dataset:
    return ray.data.range(1)


class Batches:
    """Inside a Ray Train worker: iterates over this rank's shards of steps `start` to the last.

    A thread starts reading at once, while the worker imports and builds its model, and stays two steps ahead.
    Iterating raises RuntimeError if a step is missing or out of order: training would follow another order.
    """

    def __init__(self, stream: StreamConfig, world_size: int, start: int):
        self.start = start
        self.waited = 0.0
        """Seconds that the worker waited for the last batch."""
        self._ready: queue.Queue[PairBatch | BaseException | None] = queue.Queue(maxsize=2)
        self._source = batches_in_turn(stream, world_size, start)
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


def batches_in_turn(stream: StreamConfig, world_size: int, start: int) -> Iterator[PairBatch]:
    """This rank's shards of steps start, start + 1, ...; RuntimeError where one does not come in its turn."""
    length = stream.steps_per_pass(world_size)
    expected = start
    while expected < stream.steps:
        shard = ray.train.get_dataset_shard(f"pass-{expected // length}")
        end = min((expected // length + 1) * length, stream.steps)
        for row in shard.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=2):
            batch = from_table(row)
            if batch.step < expected:
                continue  # the pass was built from an earlier checkpoint
            if batch.step > expected:
                raise RuntimeError(f"the stream gave step {batch.step} where step {expected} was due")
            yield batch
            expected += 1
        if expected < end:
            raise RuntimeError(f"the stream ended before step {expected} of {stream.steps}")
