"""What the ranks of a real Ray receive is what the plan says, whatever their number and the first step."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import ray.data

from gte_ray.data.batch import from_table
from gte_ray.data.plan import PlanSource
from gte_ray.data.read import StreamConfig
from gte_ray.data.store import open_store
from gte_ray.data.stream import PlanDataConfig, placeholders

STEPS = 23


@pytest.fixture(scope="module", params=["texts", "stored ids"])
def stream(request, tiny_store):
    """A global batch of 13 divides by none of the numbers of workers but 1."""
    store = open_store(tiny_store)
    return StreamConfig(
        store=tiny_store,
        sources=tuple(PlanSource(source.name, source.rows) for source in store.manifest.sources),
        alpha=0.5,
        global_batch=13,
        seed=5,
        steps=STEPS,
        max_length=16,
        tokenizer=store.load_tokenizer(),
        stored_ids=request.param == "stored ids",
    )


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


def test_a_long_run_is_several_passes_that_meet(ray_local, stream, monkeypatch):
    monkeypatch.setattr("gte_ray.data.read.PASS_BLOCKS", 2)
    monkeypatch.setattr("gte_ray.data.read.MOST_STEPS_PER_BLOCK", 5)
    monkeypatch.setattr("gte_ray.data.read.PAIRS_PER_BLOCK", 1)
    config = PlanDataConfig(stream, lambda: 3)
    steps = []
    names = placeholders(stream, 1)
    assert list(names) == ["pass-0", "pass-1", "pass-2"]
    for name in names:
        (split,) = config.configure({name: ray.data.range(1)}, 1, None, None)
        rows = split[name].iter_batches(batch_size=1, batch_format="pyarrow")
        steps += [from_table(row).step for row in rows]
    assert steps == list(range(3, STEPS))
