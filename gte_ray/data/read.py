"""Reads batches of the plan from the store: texts as token ids, with their negatives."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from gte_ray.data.batch import PairBatch, no_scores
from gte_ray.data.mixture import PlanSource
from gte_ray.data.negatives import fill, flat, rotate
from gte_ray.data.scores import score_array, unknown
from gte_ray.data.step_plan import Batch, Span, StepPlan
from gte_ray.data.store import Store, open_store
from gte_ray.data.token_reader import TokenReader
from gte_ray.data.tokenize import TextTokenizer
from gte_ray.readers.values import NEGATIVE_SCORES, PAIR_SCORE

PAIRS_PER_STEP = 2_048
"""Pairs of a step that a task reads at least, if there are that many: two row groups of 1,024. Shards of less would
decode the same row groups for several ranks."""
TASK_BYTES = 32 * 2**20
"""Maximum size of what a task reads as token ids, unless a single step is larger."""
MOST_STEPS_PER_BLOCK = 16
"""Maximum number of steps per block. One task reads a block of each of its ranks, so few steps make the first batch
come early."""
PAIRS_PER_TASK = 8_192
"""Up to this many pairs, a block may have more steps, as with small batches: each task has a fixed cost."""
OF_GUIDE = "guide_"
"""What the names of a batch's fields with a guide's tokens begin with."""
PASS_BLOCKS = 2_000
"""Maximum number of blocks in one pass over the dataset. The cost of a block grows with their number."""


@dataclass(frozen=True)
class StreamConfig:
    """Everything that a Ray task needs to build any batch of a run."""

    store: str
    sources: tuple[PlanSource, ...]
    alpha: float
    global_batch: int
    seed: int
    steps: int
    max_length: int
    tokenizer: TextTokenizer
    stored_ids: bool
    """Whether the token ids in the store are used. Otherwise texts are tokenised on the fly, after the
    tokenizer's prompts."""
    group_size: int = 1
    """Documents per pair: its own and group_size - 1 negatives."""
    teacher: bool = False
    """Whether batches have the teacher's scores of the store."""
    guide: TokenReader | None = None
    """What the guide reads; None for a run without one, or if it reads the same tokens as the model."""
    planned_steps: int = 0
    """Steps of the plan that these steps are the beginning of; 0 for the same."""
    split_alpha: float | None = None
    """As in `StepPlan`."""
    pass_steps: int | None = None
    """Maximum number of steps in one pass over the dataset, if it should be lower than PASS_BLOCKS allows."""

    def plan(self) -> StepPlan:
        return StepPlan(
            self.sources,
            alpha=self.alpha,
            global_batch=self.global_batch,
            seed=self.seed,
            steps=self.steps,
            planned=self.planned_steps,
            split_alpha=self.split_alpha,
        )

    def readers(self) -> tuple[tuple[str, TokenReader], ...]:
        """Who reads the texts: what begins the names of its fields in a batch, and how."""
        own = ("", TokenReader(self.tokenizer, self.max_length, self.stored_ids))
        return (own,) if self.guide is None else (own, (OF_GUIDE, self.guide))

    def ranks_per_task(self, world_size: int) -> int:
        """Ranks whose shards one task reads together: as many as share row groups, see PAIRS_PER_STEP."""
        return min(world_size, -(-PAIRS_PER_STEP // self._pairs(world_size)))

    def steps_per_block(self, world_size: int) -> int:
        pairs = self.ranks_per_task(world_size) * self._pairs(world_size)
        longest = self.max_length + (0 if self.guide is None else self.guide.max_length)
        pair_bytes = (1 + self.group_size) * 4 * longest
        most = max(MOST_STEPS_PER_BLOCK, PAIRS_PER_TASK // pairs)
        return int(np.clip(TASK_BYTES // (pairs * pair_bytes), 1, most))

    def steps_per_pass(self, world_size: int) -> int:
        blocks = max(1, PASS_BLOCKS // world_size)
        steps = blocks * self.steps_per_block(world_size)
        return min(steps, self.pass_steps or steps)

    def _pairs(self, world_size: int) -> int:
        """Most pairs of a shard."""
        return -(-self.global_batch // world_size)


def read_batch(stream: StreamConfig, store: Store, batch: Batch) -> PairBatch:
    """Reads the texts of `batch` (a shard or a whole global batch) as token ids, in plan order."""
    columns = dict.fromkeys(name for _, reader in stream.readers() for name in reader.columns[:2])
    scored = stream.teacher and bool(store.source(batch.source).teacher)
    wanted = [*columns, "query_hash", "document_hash", *([PAIR_SCORE] if scored else [])]
    rows = _SourceRows(store, batch.source, batch.spans, wanted)
    texts: dict[str, Any] = {}
    for whose, reader in stream.readers():
        query, document, _ = reader.columns
        texts[f"{whose}queries"] = reader.queries(rows.column(query))
        texts[f"{whose}documents"] = reader.documents(rows.column(document))
    pairs = PairBatch(
        batch.step,
        batch.source,
        query_hashes=rows.column("query_hash").to_numpy(),
        document_hashes=rows.column("document_hash").to_numpy(),
        **texts,
    )
    if stream.teacher:
        scores = score_array(rows.column(PAIR_SCORE)) if scored else unknown(batch.rows)
        pairs = replace(pairs, document_scores=scores)
    return pairs if stream.group_size == 1 else _with_negatives(stream, store, batch, pairs)


def read_shards(
    stream: StreamConfig, store: Store, batch: Batch, ranks: range, world_size: int
) -> list[PairBatch]:
    """The shards of neighbouring ranks of the global batch `batch`, each as `read_batch` would read it alone.

    All are read at once, so that a row group that they share is decoded once.
    """
    shards = batch.shard(ranks.start, world_size, len(ranks))
    starts = [rank * batch.rows // world_size - shards.first for rank in (*ranks, ranks.stop)]
    pairs = read_batch(stream, store, shards)
    return [pairs.cut(first, last) for first, last in pairwise(starts)]


def _with_negatives(stream: StreamConfig, store: Store, batch: Batch, pairs: PairBatch) -> PairBatch:
    """`pairs` with their negatives for this epoch. Random documents make up for missing ones."""
    k, hashes = stream.group_size - 1, (pairs.query_hashes, pairs.document_hashes)
    columns = dict(reader.columns[1:] for _, reader in stream.readers())
    scored = stream.teacher and bool(store.source(batch.source).teacher)
    wanted = [*columns.values(), "negative_hashes", *([NEGATIVE_SCORES] if scored else [])]
    stored = _SourceRows(store, batch.source, batch.spans, wanted)
    hashes_of_all, offsets = flat(stored.column("negative_hashes"))
    epochs = np.repeat([s.epoch for s in batch.spans], [s.stop - s.start for s in batch.spans])
    own = rotate(np.diff(offsets), epochs, *hashes, k, stream.seed)
    indices = pa.array(offsets[own.owners] + own.positions)
    owners, chosen = own.owners, {"document_hash": [hashes_of_all.take(indices)]}
    chosen |= {
        document: [flat(stored.column(negatives))[0].take(indices)] for document, negatives in columns.items()
    }
    scores = unknown(len(indices))
    if scored:
        scores = score_array(flat(stored.column(NEGATIVE_SCORES))[0].take(indices))
    missing = k - np.bincount(own.owners, minlength=batch.rows)
    if missing.any():
        plan = cached_plan(stream)
        spans = plan.random_rows(batch, k + 1)
        pool = _SourceRows(store, batch.source, spans, list(chosen))
        picks = fill(missing, pairs.document_hashes, pool.column("document_hash").to_numpy(), k)
        owners = np.concatenate([owners, picks.owners])
        scores = np.concatenate([scores, unknown(len(picks.owners))])
        for name, lists in chosen.items():
            lists.append(pool.column(name).take(pa.array(picks.positions)))
    order = np.argsort(owners, kind="stable")
    negatives = {name: pa.concat_arrays(lists).take(pa.array(order)) for name, lists in chosen.items()}
    texts: dict[str, Any] = {
        f"{whose}negatives": reader.documents(negatives[reader.columns[1]])
        for whose, reader in stream.readers()
    }
    return replace(
        pairs,
        **texts,
        negative_hashes=negatives["document_hash"].to_numpy(),
        negative_owners=owners[order],
        negative_scores=scores[order] if stream.teacher else no_scores(),
    )


class _SourceRows:
    """Columns of the rows of several spans, concatenated."""

    def __init__(self, store: Store, source: str, spans: Sequence[Span], columns: Sequence[str]):
        self.table = pa.concat_tables(
            [store.read_rows(source, span.start, span.stop, columns) for span in spans]
        )

    def column(self, name: str) -> pa.Array:
        return pa.concat_arrays(self.table.column(name).chunks)


class _PlanKey:
    """A StreamConfig hashed only by the fields that determine its plan, so without its tokenizer."""

    def __init__(self, stream: StreamConfig):
        self.stream = stream
        steps = (stream.steps, stream.planned_steps)
        mixture = (stream.sources, stream.alpha, stream.split_alpha)
        self._key = (mixture, stream.global_batch, stream.seed, steps)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _PlanKey) and self._key == other._key


@lru_cache(maxsize=4)
def _cached_plan(key: _PlanKey) -> StepPlan:
    return key.stream.plan()


@lru_cache(maxsize=4)
def cached_store(uri: str) -> Store:
    return open_store(uri, check=False)


def cached_plan(stream: StreamConfig) -> StepPlan:
    return _cached_plan(_PlanKey(stream))
