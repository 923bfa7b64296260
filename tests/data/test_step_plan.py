"""The step plan is pure: checked against its definition, never against itself."""

import hashlib
import time
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gte_ray.data.mixture import PlanSource, probabilities
from gte_ray.data.step_plan import ROW_GROUP_ROWS, RUNS_PER_BATCH, StepPlan

PAPER_TASKS = {"web": (147, 3), "paper": (45, 5), "link": (106, 4), "social": (327, 2), "kb": (38, 2),
               "qa": (12, 7), "news": (3, 5), "code": (20, 2), "other": (91, 3)}  # Table 1, sizes in millions  # fmt: skip


def rows_of(batch):
    return [row for start, stop, _ in batch.spans for row in range(start, stop)]


@st.composite
def plans(draw):
    sizes = draw(st.lists(st.integers(1, 5_000), min_size=1, max_size=5))
    sources = [PlanSource(f"s{i}", rows) for i, rows in enumerate(sizes)]
    return StepPlan(
        sources,
        alpha=draw(st.sampled_from([0.0, 0.3, 0.5, 1.0, 2.0])),
        global_batch=draw(st.integers(2, 700)),
        seed=draw(st.integers(0, 5)),
        steps=draw(st.integers(1, 60)),
    )


@given(plans())
@settings(max_examples=60, deadline=None)
def test_batches_are_whole_and_inside_their_source(plan):
    sizes = {source.name: source.rows for source in plan.sources}
    for step in range(len(plan)):
        batch = plan[step]
        rows = rows_of(batch)
        assert batch.step == step
        assert len(rows) == plan.global_batch
        assert all(0 <= row < sizes[batch.source] for row in rows)


@given(plans())
@settings(max_examples=60, deadline=None)
def test_an_epoch_visits_each_row_once(plan):
    visited = {source.name: [] for source in plan.sources}
    for step in range(len(plan)):
        batch = plan[step]
        visited[batch.source] += rows_of(batch)
    for source in plan.sources:
        sequence = visited[source.name]
        for start in range(0, len(sequence), source.rows):
            epoch = Counter(sequence[start : start + source.rows])
            assert max(epoch.values()) == 1
            assert len(epoch) == min(source.rows, len(sequence) - start)


@given(plans())
@settings(max_examples=60, deadline=None)
def test_spans_tell_how_often_their_rows_were_seen_before(plan):
    seen = {source.name: Counter() for source in plan.sources}
    for step in range(len(plan)):
        batch = plan[step]
        for start, stop, epoch in batch.spans:
            for row in range(start, stop):
                assert seen[batch.source][row] == epoch
                seen[batch.source][row] += 1


@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=30), st.integers(2, 700), st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_one_proportional_epoch_sees_each_pair_once(sizes, global_batch, seed):
    """Up to a batch of each source: without, small sources would have from 0.4 to 1.5 epochs."""
    sources = [PlanSource(f"s{i:02}", rows) for i, rows in enumerate(sizes)]
    steps = max(1, round(sum(sizes) / global_batch))
    plan = StepPlan(sources, alpha=1.0, global_batch=global_batch, seed=seed, steps=steps)
    drawn = Counter(plan[step].source for step in range(steps))
    exact = np.array(sizes) * (steps / sum(sizes))
    for source, share in zip(plan.sources, exact, strict=True):
        assert share - 1 < drawn[source.name] < share + 1
    assert plan.source_steps().tolist() == [drawn[source.name] for source in plan.sources]


def test_a_proportional_epoch_is_in_random_order():
    sources = [PlanSource("a", 60_000), PlanSource("b", 40_000)]
    orders = []
    for seed in (0, 1):
        plan = StepPlan(sources, alpha=1.0, global_batch=100, seed=seed, steps=1_000)
        orders.append([plan[step].source for step in range(1_000)])
    assert orders[0] != orders[1]
    for order in orders:
        assert Counter(order) == {"a": 600, "b": 400}
        assert 200 < sum(one != other for one, other in pairwise(order)) < 760
        assert 40 < Counter(order[:100])["a"] < 80


@pytest.mark.parametrize("global_batch", [64, 128, 512, 1_000, 1_024, 2_048, 16_384])
def test_batches_of_a_later_epoch_are_others(global_batch):
    """As sets: a batch of the third epoch shares about an eighth with the batch of the first that is most like it."""
    rows = global_batch * 100
    plan = StepPlan([PlanSource("a", rows)], alpha=0.5, global_batch=global_batch, seed=1, steps=300)
    earlier = [set(rows_of(plan[t])) for t in range(200)]
    for step in range(200, 300, 9):
        batch = set(rows_of(plan[step]))
        assert max(len(batch & other) for other in earlier) <= 0.5 * global_batch


@pytest.mark.parametrize("global_batch", [2, 100, 128, 1_024, 4_096])
def test_a_batch_of_a_later_epoch_reads_few_row_groups(global_batch):
    rows = 64 * ROW_GROUP_ROWS
    plan = StepPlan(
        [PlanSource("a", rows)], alpha=0.5, global_batch=global_batch, seed=1, steps=3 * rows // global_batch
    )
    for step in range(len(plan) // 2, len(plan), len(plan) // 40):
        groups = {row // ROW_GROUP_ROWS for row in rows_of(plan[step])}
        assert len(groups) <= 2 * RUNS_PER_BATCH + 2


@given(plans(), st.integers(1, 9), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_shards_take_their_random_rows_from_those_of_the_batch(plan, world_size, per_row):
    batch = plan[len(plan) - 1]
    sizes = {source.name: source.rows for source in plan.sources}

    def random_rows(part):
        spans = plan.random_rows(part, per_row)
        return [row for start, stop, _ in spans for row in range(start, stop)]

    whole = random_rows(batch)
    assert len(whole) == plan.global_batch * per_row
    assert all((b - a) % sizes[batch.source] == 1 % sizes[batch.source] for a, b in pairwise(whole))
    shards = [batch.shard(rank, world_size) for rank in range(world_size)]
    assert [row for shard in shards for row in random_rows(shard)] == whole


@given(plans(), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_shards_partition_the_batch(plan, world_size):
    batch = plan[len(plan) - 1]
    shards = [rows_of(batch.shard(rank, world_size)) for rank in range(world_size)]
    assert [row for shard in shards for row in shard] == rows_of(batch)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_frequencies_follow_equation_4():
    sources = [PlanSource("a", 100), PlanSource("b", 10_000), PlanSource("c", 1_000_000)]
    for alpha in (0.0, 0.3, 0.5, 1.0):
        plan = StepPlan(sources, alpha=alpha, global_batch=2, seed=1, steps=40_000)
        weights = np.array([source.rows**alpha for source in sources])
        expected = weights / weights.sum() * plan.steps
        deviation = np.sqrt(expected * (1 - expected / plan.steps)) + 1e-9
        assert np.all(np.abs(plan.source_steps() - expected) < 4 * deviation)


def test_probabilities_survive_any_size():
    assert probabilities([1, 10**15], 30.0).tolist() == pytest.approx([0.0, 1.0])


def test_a_longer_run_begins_with_the_shorter_one():
    sources = [PlanSource("a", 3_000), PlanSource("b", 700)]
    for alpha in (0.5, 1.0):
        whole = StepPlan(sources, alpha=alpha, global_batch=64, seed=3, steps=90)
        ended = StepPlan(sources, alpha=alpha, global_batch=64, seed=3, steps=20, planned=90)
        assert len(ended) == 20 == ended.source_steps().sum()
        assert [ended[t] for t in range(20)] == [whole[t] for t in range(20)]
    short, long = (StepPlan(sources, alpha=0.5, global_batch=64, seed=3, steps=n) for n in (20, 90))
    assert [short[t] for t in range(20)] == [long[t] for t in range(20)]


def test_the_order_of_the_sources_does_not_count():
    sources = [PlanSource("a", 3_000), PlanSource("b", 700), PlanSource("c", 90)]
    one, other = (StepPlan(s, alpha=0.5, global_batch=64, seed=3, steps=40) for s in (sources, sources[::-1]))
    assert [one[t] for t in range(40)] == [other[t] for t in range(40)]


def test_the_seed_counts():
    sources = [PlanSource("a", 50_000)]
    one, other = (StepPlan(sources, alpha=0.5, global_batch=64, seed=s, steps=1) for s in (1, 2))
    assert one[0] != other[0]


def test_golden_plan():
    """A change here changes every run that people have under way: it needs a new major version."""
    sources = [PlanSource("a", 1), PlanSource("b", 5_000), PlanSource("c", 123_456)]
    plan = StepPlan(sources, alpha=0.5, global_batch=100, seed=42, steps=200)
    digest = hashlib.sha256(repr([(b.source, rows_of(b)) for b in plan]).encode()).hexdigest()
    assert digest[:16] == "79892ed65225e4f2"


def test_paper_size_plans_within_a_second():
    """A bound on the algorithm, fifty times what it takes: it must not grow with the pairs."""
    sources = [
        PlanSource(f"{task}{i}", millions * 1_000_000 // datasets)
        for task, (millions, datasets) in PAPER_TASKS.items()
        for i in range(datasets)
    ]
    assert len(sources) == 33
    start = time.process_time()
    plan = StepPlan(sources, alpha=0.5, global_batch=16_384, seed=42, steps=50_000)
    plan[49_999]
    assert time.process_time() - start < 1
    # "50,000 steps, which roughly corresponds to one epoch on the whole pre-training data" (section 3.4)
    assert 0.9 < 50_000 * 16_384 / sum(source.rows for source in plan.sources) < 1.1


def test_refuses_what_has_no_rows():
    with pytest.raises(ValueError, match="sources without rows: b"):
        StepPlan([PlanSource("a", 3), PlanSource("b", 0)], alpha=0.5, global_batch=2, seed=0, steps=1)
    with pytest.raises(ValueError, match="at least one source"):
        StepPlan([], alpha=0.5, global_batch=2, seed=0, steps=1)
    with pytest.raises(IndexError, match="step 1 is outside 0 to 0"):
        StepPlan([PlanSource("a", 3)], alpha=0.5, global_batch=2, seed=0, steps=1)[1]
