"""The step plan: which pairs make up global batch t, as a pure function of sizes, exponents, batch and seed.

The plan does not depend on workers, files or Ray. Each step draws one source by eq. 4; with alpha = 1 each
source has exactly its share of the steps, in random order, so that one epoch sees each pair once (unless parts of a split
source have another exponent, see `mixture.py`). The k-th draw
of a source takes the next `global_batch` rows of its endless sequence, in which epoch e visits runs of rows in a
permutation seeded by (seed, source, e). Rows of a store are in hash order, so a run is itself a random sample.

In the first epoch, runs are whole row groups, each of which is read only once. Later epochs have shorter runs
where a batch would otherwise consist of the same few row groups again. Small sources repeat; they never drop
out.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from gte_ray.data.mixture import PlanSource, shares

ROW_GROUP_ROWS = 1_024
"""Rows that the first epoch visits together: a row group of the store."""
RUNS_PER_BATCH = 8
"""Minimum number of runs in a batch after the first epoch. The batch shares some of them with any earlier
batch, and reads about eight row groups."""


class Span(NamedTuple):
    """Rows start <= r < stop of a source, in store order."""

    start: int
    stop: int
    epoch: int
    """Number of passes over the source before this one."""


@dataclass(frozen=True)
class Batch:
    """The global batch of one step, or a shard of it: the rows of `spans` in order."""

    step: int
    source: str
    spans: tuple[Span, ...]
    first: int = 0
    """Offset of the first row in the global batch of the step."""

    @property
    def rows(self) -> int:
        return sum(span.stop - span.start for span in self.spans)

    def shard(self, rank: int, world_size: int, ranks: int = 1) -> "Batch":
        """The shard of `rank`: consecutive rows. Shard sizes differ by at most one row.

        With `ranks`, those of this rank and of the following ones, `ranks` in all.
        """
        first, last = (r * self.rows // world_size for r in (rank, rank + ranks))
        return Batch(self.step, self.source, tuple(_cut(self.spans, first, last)), self.first + first)


class StepPlan:
    """All batches of a run. `plan[t]` is the batch of step t, 0 <= t < steps."""

    def __init__(
        self,
        sources: Sequence[PlanSource],
        *,
        alpha: float,
        global_batch: int,
        seed: int,
        steps: int,
        planned: int = 0,
        split_alpha: float | None = None,
    ):
        """`alpha` and `split_alpha` are as in `shares`. `planned`, if it is not 0, is the number of steps of the plan that this is the beginning of.

        Raises ValueError if there is no source, or if a source has no rows.
        """
        if not sources:
            raise ValueError("a plan needs at least one source")
        empty = [source.name for source in sources if source.rows < 1]
        if empty:
            raise ValueError(f"sources without rows: {', '.join(empty)}")
        # By name, so that the order in which a store lists its sources does not matter.
        self.sources = tuple(sorted(sources, key=lambda source: source.name))
        self.global_batch = global_batch
        self.seed = seed
        self.steps = steps
        self._planned = planned or steps
        self._sizes = {source.name: source.rows for source in self.sources}
        self.probabilities = shares(self.sources, alpha, split_alpha)
        drawn = self._share_out_steps() if alpha == 1 else self._draw_sources()
        self._drawn = drawn[:steps]
        self._occurrence = _running_count(self._drawn, len(self.sources))

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} is outside 0 to {self.steps - 1}")
        source = self.sources[self._drawn[step]]
        first = int(self._occurrence[step]) * self.global_batch
        return Batch(step, source.name, tuple(self._rows(source, first, first + self.global_batch)))

    def random_rows(self, batch: Batch, per_row: int) -> list[Span]:
        """Draws `per_row` random rows of the source for each row of `batch`, regardless of how it is sharded.

        Rows of a store are in hash order, so consecutive rows from a random start are a random sample.
        """
        rows = self._sizes[batch.source]
        drawn = np.random.Generator(np.random.Philox(key=_key(self.seed, f"random rows of {batch.step}")))
        first = int(drawn.integers(rows)) + batch.first * per_row
        return _cycle(rows, first, first + batch.rows * per_row)

    def source_steps(self) -> np.ndarray:
        """(sources,) int64, the number of steps of each source, in the order of `sources`."""
        return np.bincount(self._drawn, minlength=len(self.sources))

    def source_epochs(self) -> np.ndarray:
        """(sources,) float64, the number of passes over each source."""
        return self.source_steps() * self.global_batch / np.array([source.rows for source in self.sources])

    def _share_out_steps(self) -> np.ndarray:
        """(planned steps,) int64: indices of sources, each as often as its share of the steps, rounded up or down."""
        shares = self.probabilities * self._planned
        counts = np.floor(shares).astype(np.int64)
        # By the largest remainders, rounded so that equal ones stay equal on any machine.
        order = np.argsort(np.round(counts - shares, 9), kind="stable")
        counts[order[: self._planned - counts.sum()]] += 1
        drawn = np.repeat(np.arange(len(self.sources)), counts)
        return np.random.Generator(np.random.Philox(key=_key(self.seed, "sources"))).permutation(drawn)

    def _draw_sources(self) -> np.ndarray:
        # Philox is counter-based: draw t depends only on (seed, t), so a longer run begins with the draws of
        # a shorter one.
        uniform = np.random.Generator(np.random.Philox(key=_key(self.seed, "sources"))).random(self._planned)
        edges = np.cumsum(self.probabilities)
        return np.minimum(np.searchsorted(edges, uniform, side="right"), len(self.sources) - 1)

    def _rows(self, source: PlanSource, first: int, last: int) -> list[Span]:
        """Rows at positions first <= p < last of the endless sequence of `source`."""
        spans: list[Span] = []
        while first < last:
            epoch, position = divmod(first, source.rows)
            stop = min(position + last - first, source.rows)
            length = run_length(self.global_batch, epoch)
            order = epoch_order(self.seed, source, epoch, length)
            spans += _epoch_rows(order, length, source.rows, Span(position, stop, epoch))
            first += stop - position
        return _joined(spans)


def run_length(global_batch: int, epoch: int) -> int:
    """Rows per run in `epoch`: a power of 2 up to ROW_GROUP_ROWS, so that a run lies in one row group."""
    most = max(1, global_batch // RUNS_PER_BATCH)
    return ROW_GROUP_ROWS if epoch == 0 else min(ROW_GROUP_ROWS, 2 ** (most.bit_length() - 1))


@lru_cache(maxsize=64)
def epoch_order(seed: int, source: PlanSource, epoch: int, length: int) -> np.ndarray:
    """(runs,) int64, the order in which `epoch` visits the runs of `length` rows of `source`."""
    generator = np.random.Generator(np.random.Philox(key=_key(seed, f"epoch {epoch} of {source.name}")))
    return generator.permutation(-(-source.rows // length))


def _epoch_rows(order: np.ndarray, length: int, rows: int, positions: Span) -> list[Span]:
    """Converts `positions` in an epoch over `rows` rows to spans of rows. Only the last run may be short."""
    first, last, epoch = positions
    short = int(np.flatnonzero(order == len(order) - 1)[0])  # position of the short run in the epoch
    missing = len(order) * length - rows
    spans = []
    while first < last:
        shifted = first + missing if first >= (short + 1) * length - missing else first
        run, row = divmod(shifted, length)
        start = int(order[run]) * length + row
        stop = min(start - row + length, rows, start + last - first)
        spans.append(Span(start, stop, epoch))
        first += stop - start
    return spans


def _cycle(rows: int, first: int, last: int) -> list[Span]:
    """Positions first <= p < last of the rows 0, 1, ..., rows - 1, 0, 1, ..."""
    spans = []
    while first < last:
        epoch, start = divmod(first, rows)
        stop = min(rows, start + last - first)
        spans.append(Span(start, stop, epoch))
        first += stop - start
    return spans


def _joined(spans: list[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in spans:
        if joined and joined[-1].stop == span.start and joined[-1].epoch == span.epoch:
            joined[-1] = span._replace(start=joined[-1].start)
        else:
            joined.append(span)
    return joined


def _cut(spans: tuple[Span, ...], first: int, last: int) -> list[Span]:
    """Rows first <= r < last, counted along the spans."""
    cut, passed = [], 0
    for start, stop, epoch in spans:
        low, high = max(start, start + first - passed), min(stop, start + last - passed)
        if low < high:
            cut.append(Span(low, high, epoch))
        passed += stop - start
    return cut


def _running_count(values: np.ndarray, distinct: int) -> np.ndarray:
    """(n,) int64, the number of earlier entries that equal each entry. `values` are below `distinct`."""
    order = np.argsort(values, kind="stable")
    starts = np.concatenate(([0], np.cumsum(np.bincount(values, minlength=distinct))[:-1]))
    counts = np.empty(len(values), dtype=np.int64)
    counts[order] = np.arange(len(values)) - starts[values[order]]
    return counts


def _key(seed: int, purpose: str) -> int:
    """A 128-bit Philox key."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {purpose}".encode(), digest_size=16).digest())
