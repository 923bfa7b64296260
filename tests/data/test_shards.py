"""Ranks whose shards are read together receive what each would have read alone."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import ray.data
from hypothesis import given, settings
from hypothesis import strategies as st

from gte_ray.data import read
from gte_ray.data.batch import NUMBERS, TEXTS, PairBatch, from_table
from gte_ray.data.mixture import PlanSource
from gte_ray.data.read import StreamConfig, read_batch, read_shards
from gte_ray.data.store import open_store
from gte_ray.data.stream import PlanDataConfig
from tests.data.many_parts import write_store
from tests.data.streams import STEPS, make_stream


@pytest.fixture(scope="module")
def stream(tiny_store) -> StreamConfig:
    """No pair of the store has negatives: all are drawn, by the place of a pair in the global batch."""
    return replace(make_stream(tiny_store, stored_ids=True), group_size=3)


def assert_same(found: PairBatch, expected: PairBatch) -> None:
    assert (found.step, found.source) == (expected.step, expected.source)
    arrays = [(getattr(found, name), getattr(expected, name)) for name in NUMBERS]
    for name in TEXTS:
        texts = getattr(found, name), getattr(expected, name)
        arrays += [tuple(text.values for text in texts), tuple(text.offsets for text in texts)]
    for one, other in arrays:
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_shards_read_together_are_those_read_alone(stream, data):
    changed = replace(
        stream,
        global_batch=data.draw(st.integers(8, 40)),
        group_size=data.draw(st.integers(1, 3)),
        stored_ids=data.draw(st.booleans()),
    )
    world_size = data.draw(st.integers(1, 8))
    first = data.draw(st.integers(0, world_size - 1))
    ranks = range(first, data.draw(st.integers(first + 1, world_size)))
    store, batch = (
        open_store(changed.store, check=False),
        changed.plan()[data.draw(st.integers(0, STEPS - 1))],
    )
    together = read_shards(changed, store, batch, ranks, world_size)
    for rank, shard in zip(ranks, together, strict=True):
        assert_same(shard, read_batch(changed, store, batch.shard(rank, world_size)))


@pytest.mark.parametrize(
    ("world_size", "start", "together"), [(1, 0, 1), (2, 3, 2), (3, 0, 2), (8, 0, 3), (8, 7, 8), (8, 0, 1)]
)
def test_each_rank_receives_its_own_shards(ray_local, stream, monkeypatch, world_size, start, together):
    """In blocks of four steps and a shorter one at the end, of groups of ranks that may not divide their number."""
    monkeypatch.setattr(read, "MOST_STEPS_PER_BLOCK", 4)
    monkeypatch.setattr(read, "PAIRS_PER_TASK", 1)
    monkeypatch.setattr(StreamConfig, "ranks_per_task", lambda self, world_size: together)
    assert stream.steps_per_block(world_size) == 4
    config = PlanDataConfig(stream, lambda: start)
    splits = config.configure({"pass-0": ray.data.range(1)}, world_size, None, None)

    def take(rank: int) -> list[PairBatch]:
        rows = splits[rank]["pass-0"].iter_batches(batch_size=1, batch_format="pyarrow")
        return [from_table(row) for row in rows]

    with ThreadPoolExecutor(world_size) as pool:
        ranks = list(pool.map(take, range(world_size)))
    store, plan = open_store(stream.store), stream.plan()
    for rank, batches in enumerate(ranks):
        assert [batch.step for batch in batches] == list(range(start, STEPS))
        for batch in batches:
            assert_same(batch, read_batch(stream, store, plan[batch.step].shard(rank, world_size)))


@pytest.mark.parametrize(
    ("global_batch", "world_size", "ranks"),
    [(128, 8, 8), (512, 2, 2), (16_384, 8, 1), (4_096, 8, 4), (4_000, 3, 2), (128, 1, 1), (4, 8, 8)],
)
def test_ranks_with_few_pairs_are_read_together(stream, global_batch, world_size, ranks):
    large = replace(stream, global_batch=global_batch, max_length=128)
    assert large.ranks_per_task(world_size) == ranks
    pairs = large.steps_per_block(world_size) * ranks * -(-global_batch // world_size)
    assert pairs * (1 + large.group_size) * 4 * large.max_length <= read.TASK_BYTES


def test_the_first_epoch_decodes_little_more_than_it_keeps(stream, tmp_path):
    """A task of eight ranks, of a source with as many rows as the task takes."""
    write_store(tmp_path, parts=3, rows=3_000)
    one = replace(
        stream, store=str(tmp_path), sources=(PlanSource("many", 9_000),), global_batch=128, steps=64,
        group_size=1, stored_ids=False,
    )  # fmt: skip
    store, steps = open_store(str(tmp_path)), one.steps_per_block(8)
    for batch in list(one.plan())[:steps]:
        assert sum(len(shard.query_hashes) for shard in read_shards(one, store, batch, range(8), 8)) == 128
    assert store.reader.decoded_rows <= 2 * steps * 128
