"""What the ranks of a real Ray receive is what the plan says, whatever their number and the first step."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import ray.data

from gte_ray.data.batch import from_table, to_table
from gte_ray.data.read import read_batch
from gte_ray.data.store import open_store
from gte_ray.data.stream import Batches, PlanDataConfig, batches_in_turn, placeholders
from tests.data.streams import STEPS, make_stream

RANK = threading.local()


@pytest.fixture(scope="module", params=["texts", "stored ids"])
def stream(request, tiny_store):
    return make_stream(tiny_store, request.param == "stored ids")


def received(stream, world_size, start):
    """Each rank's batches, taken at the same time, as the workers of a run take them."""
    config = PlanDataConfig(stream, lambda: start)
    splits = config.configure({"pass-0": ray.data.range(1)}, world_size, None, None)

    def take(rank):
        rows = splits[rank]["pass-0"].iter_batches(batch_size=1, batch_format="pyarrow")
        return [from_table(row) for row in rows]

    with ThreadPoolExecutor(world_size) as pool:
        return list(pool.map(take, range(world_size)))


@pytest.mark.parametrize(("world_size", "start"), [(1, 0), (2, 0), (3, 7)])
def test_ranks_receive_the_plan(ray_local, stream, world_size, start):
    store, plan = open_store(stream.store), stream.plan()
    ranks = received(stream, world_size, start)
    for rank, batches in enumerate(ranks):
        assert [batch.step for batch in batches] == list(range(start, STEPS))
        for batch in batches:
            shard = plan[batch.step].shard(rank, world_size)
            assert batch.source == shard.source
            rows = [
                pair
                for first, last, _ in shard.spans
                for pair in store.read_rows(
                    batch.source, first, last, ["query", "document", "query_hash", "document_hash"]
                ).to_pylist()
            ]
            assert batch.query_hashes.tolist() == [row["query_hash"] for row in rows]
            assert batch.document_hashes.tolist() == [row["document_hash"] for row in rows]
            for texts, column in ((batch.queries, "query"), (batch.documents, "document")):
                expected = stream.tokenizer.encode([row[column] for row in rows], stream.max_length)
                assert np.array_equal(texts.values, expected.values)
                assert np.array_equal(texts.offsets, expected.offsets)
    for step in range(STEPS - start):
        assert len({batches[step].source for batches in ranks}) == 1


@pytest.fixture
def short_passes(tiny_store):
    return replace(make_stream(tiny_store, stored_ids=True), pass_steps=10)


def shards(monkeypatch, *ranks):
    """Has Ray Train give what `ranks` hold by name, to the rank of the thread that asks."""
    monkeypatch.setattr("ray.train.get_dataset_shard", lambda name: ranks[getattr(RANK, "number", 0)][name])


def consumed(stream, rank, ranks, start):
    RANK.number = rank
    return [batch.step for batch in batches_in_turn(stream, ranks, start)]


@pytest.mark.parametrize(("world_size", "start", "built_from"), [(2, 13, 11), (3, 0, 0)])
def test_a_long_run_is_several_passes_that_meet(
    ray_local, short_passes, monkeypatch, world_size, start, built_from
):
    """Also where it goes on within a pass, and where the pass was built from an earlier checkpoint."""
    config = PlanDataConfig(short_passes, lambda: built_from)
    names = placeholders(short_passes, 3)
    assert list(names) == ["pass-0", "pass-1", "pass-2"]
    ranks = [{} for _ in range(world_size)]
    for name in list(names)[start // 10 :]:
        for held, split in zip(
            ranks, config.configure({name: ray.data.range(1)}, world_size, None, None), strict=True
        ):
            held |= split
    shards(monkeypatch, *ranks)
    with ThreadPoolExecutor(world_size) as pool:
        every = [pool.submit(consumed, short_passes, rank, world_size, start) for rank in range(world_size)]
        assert [steps.result() for steps in every] == [list(range(start, STEPS))] * world_size


def test_passes_get_shorter_with_more_workers(short_passes):
    long = replace(short_passes, pass_steps=None, steps=10**7)
    lengths = [long.steps_per_pass(world_size) for world_size in (1, 2, 3)]
    assert lengths == sorted(lengths, reverse=True) and len(set(lengths)) > 1
    assert len(placeholders(long, 3)) * min(lengths) >= long.steps


class Shard:
    """A rank's shard of a pass that holds the given steps, which are all of one source."""

    def __init__(self, stream, *steps):
        store, plan = open_store(stream.store), stream.plan()
        self.rows = [to_table([read_batch(stream, store, plan[step])]) for step in steps]

    def iter_batches(self, **options):
        return iter(self.rows)


@pytest.mark.parametrize(
    ("steps", "message"),
    [([0, 1, 3], "gave step 3 where step 2 was due"), ([0, 1], "ended before step 2 of 23")],
)
def test_a_step_out_of_its_turn_ends_the_stream(tiny_store, monkeypatch, steps, message):
    stream = make_stream(tiny_store, stored_ids=True)
    shards(monkeypatch, {"pass-0": Shard(stream, *steps)})
    found = []
    with pytest.raises(RuntimeError, match=message):
        for batch in Batches(stream, 1, 0):
            found.append(batch.step)
    assert found == [0, 1]
