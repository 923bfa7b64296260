"""Batches of the plan read from the store: their texts as token ids, with the negatives that are theirs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pyarrow as pa

from gte_ray.data.batch import PairBatch, TokenLists
from gte_ray.data.negatives import fill, flat, rotate
from gte_ray.data.step_plan import Batch, PlanSource, Span, StepPlan
from gte_ray.data.store import Store, open_store
from gte_ray.data.tokenize import TextTokenizer

BLOCK_BYTES = 32 * 2**20
"""Size that a block of token ids is kept under, where one step is not larger by itself."""
MOST_STEPS_PER_BLOCK = 16
"""A block is read by one task: few steps make the first batch come early, unless ..."""
PAIRS_PER_BLOCK = 8_192
"""... they have fewer pairs than this together, as those of many ranks have: tasks have a cost of their own."""
PASS_BLOCKS = 2_000
"""Most blocks of one pass over the dataset; the cost of a block grows with their number."""


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
    """Whether the token ids in the store are used; otherwise the texts are tokenised on the fly, with the
    tokenizer's prompts in front."""
    group_size: int = 1
    """Documents of a pair: its own and group_size - 1 negatives."""
    pass_steps: int | None = None
    """Most steps of one pass over the dataset, where they are to be fewer than PASS_BLOCKS allow."""

    def plan(self) -> StepPlan:
        return StepPlan(
            self.sources,
            alpha=self.alpha,
            global_batch=self.global_batch,
            seed=self.seed,
            steps=self.steps,
        )

    def columns(self) -> tuple[str, str, str]:
        """Columns of the store that queries, documents and negatives are read from."""
        if self.stored_ids:
            return "query_ids", "document_ids", "negative_ids"
        return "query", "document", "negatives"

    def steps_per_block(self, world_size: int) -> int:
        pairs = -(-self.global_batch // world_size)
        pair_bytes = (1 + self.group_size) * 4 * self.max_length
        most = max(MOST_STEPS_PER_BLOCK, PAIRS_PER_BLOCK // pairs)
        return int(np.clip(BLOCK_BYTES // (pairs * pair_bytes), 1, most))

    def steps_per_pass(self, world_size: int) -> int:
        blocks = max(1, PASS_BLOCKS // world_size)
        steps = blocks * self.steps_per_block(world_size)
        return min(steps, self.pass_steps or steps)


def read_batch(stream: StreamConfig, store: Store, batch: Batch) -> PairBatch:
    """The texts of `batch` (a shard or a whole global batch) as token ids, in plan order."""
    columns = stream.columns()
    rows = _SourceRows(store, batch.source, batch.spans, [*columns[:2], "query_hash", "document_hash"])
    pairs = PairBatch(
        batch.step,
        batch.source,
        _tokens(stream, rows.column(columns[0]), stream.tokenizer.prompts.query),
        _tokens(stream, rows.column(columns[1]), stream.tokenizer.prompts.document),
        rows.column("query_hash").to_numpy(),
        rows.column("document_hash").to_numpy(),
    )
    return pairs if stream.group_size == 1 else _with_negatives(stream, store, batch, pairs)


def _with_negatives(stream: StreamConfig, store: Store, batch: Batch, pairs: PairBatch) -> PairBatch:
    """`pairs` with the negatives that are theirs in this epoch, and random documents for those that lack."""
    k, (_, documents, negatives) = stream.group_size - 1, stream.columns()
    hashes = pairs.query_hashes, pairs.document_hashes
    stored = _SourceRows(store, batch.source, batch.spans, [negatives, "negative_hashes"])
    texts, offsets = flat(stored.column(negatives))
    epochs = np.repeat([s.epoch for s in batch.spans], [s.stop - s.start for s in batch.spans])
    own = rotate(np.diff(offsets), epochs, *hashes, k, stream.seed)
    places = pa.array(offsets[own.owners] + own.positions)
    owners, chosen = own.owners, [texts.take(places)]
    chosen_hashes = [flat(stored.column("negative_hashes"))[0].take(places)]
    missing = k - np.bincount(own.owners, minlength=batch.rows)
    if missing.any():
        plan = cached_plan(stream)
        spans = plan.random_rows(batch, k + 1)
        pool = _SourceRows(store, batch.source, spans, [documents, "document_hash"])
        picks = fill(missing, pairs.document_hashes, pool.column("document_hash").to_numpy(), k)
        owners = np.concatenate([owners, picks.owners])
        for lists, name in ((chosen, documents), (chosen_hashes, "document_hash")):
            lists.append(pool.column(name).take(pa.array(picks.positions)))
    order = np.argsort(owners, kind="stable")
    return replace(
        pairs,
        negatives=_tokens(
            stream, pa.concat_arrays(chosen).take(pa.array(order)), stream.tokenizer.prompts.document
        ),
        negative_hashes=pa.concat_arrays(chosen_hashes).to_numpy()[order],
        negative_owners=owners[order],
    )


class _SourceRows:
    """Columns of the rows of several spans, one after another."""

    def __init__(self, store: Store, source: str, spans: Sequence[Span], columns: Sequence[str]):
        self.table = pa.concat_tables(
            [store.read_rows(source, span.start, span.stop, columns) for span in spans]
        )

    def column(self, name: str) -> pa.Array:
        return pa.concat_arrays(self.table.column(name).chunks)


def _tokens(stream: StreamConfig, array: pa.Array, prompt: str) -> TokenLists:
    if stream.stored_ids:  # they are without prompts: see `make_stream`
        values, offsets = flat(array)
        content = TokenLists(values.to_numpy(), offsets.astype(np.int64))
        return stream.tokenizer.with_specials(content, stream.max_length)
    return stream.tokenizer.encode(array, stream.max_length, prompt)


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
def cached_store(uri: str) -> Store:
    return open_store(uri, check=False)


def cached_plan(stream: StreamConfig) -> StepPlan:
    return _cached_plan(_PlanKey(stream))
