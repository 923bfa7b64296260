"""Pairs that several sources of a store have: each stays in one of them.

The pairs of all sources are compared by ranges of their hashes, a task for each range, so memory does not grow with
the store. Within a source pairs are unique already.
"""

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from gte_ray.data.hashing import pair_hashes
from gte_ray.data.ids import Report
from gte_ray.data.rewrite import PartRows
from gte_ray.data.store import Store
from gte_ray.mining.task import read_arrays, write_arrays
from gte_ray.runtime import storage
from gte_ray.runtime.parquet import open_parquet
from gte_ray.runtime.pool import run_tasks

RANGE_ROWS = 2**22
"""Pairs of a range, on average: what a task compares at once, 24 bytes each."""
PARTS_OF_TASK = 64
"""Parts whose first and last hashes one task reads."""
READS_AT_ONCE = 16
"""Parts that are read concurrently, because remote storage is slow to respond."""
HASHES = ["query_hash", "document_hash"]
ELSEWHERE = "in an earlier source"
HELD_OUT = "held out in another source"


@dataclass(frozen=True)
class _Part:
    """A part that is not empty."""

    source: int
    """Its place in the order of the sources."""
    held_out: bool
    uri: str
    first: int
    """Row of the source, or of its held-out pairs, that the part begins with."""


class _Edges(NamedTuple):
    """Pair hashes of a part's first and last row."""

    part: int
    low: int
    high: int


class _Range(NamedTuple):
    """Pair hashes low <= h <= high, and the parts that may have one."""

    low: int
    high: int
    parts: tuple[_Part, ...]
    uri: str
    """File of what is found."""


@dataclass(frozen=True)
class Repeated:
    """Pairs of a store that are in another of its sources too, and leave this one."""

    order: tuple[str, ...]
    """The sources; each keeps its pairs before those that follow."""
    ranges: tuple[_Range, ...]
    """In the file of each, by the source's place: the rows that leave it, and whether each is held out elsewhere."""
    seed: int

    def of(self, source: str, rows: PartRows, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Two (n,) bool for the n rows of a part: in an earlier source; held out in another one."""
        elsewhere, held_out = np.zeros((2, len(table)), bool)
        hashes, number = _pair_hashes(table, self.seed), self.order.index(source)
        for range in self.ranges:
            if len(hashes) == 0 or range.high < hashes[0] or range.low > hashes[-1]:
                continue
            found = read_arrays(range.uri)
            if f"rows-{number}" in found:
                leaving, aside = found[f"rows-{number}"], found[f"aside-{number}"]
                inside = (leaving >= rows.start) & (leaving < rows.stop)
                elsewhere[leaving[inside & ~aside] - rows.start] = True
                held_out[leaving[inside & aside] - rows.start] = True
        return elsewhere, held_out


def find_repeated(store: Store, order: Sequence[str], folder: str, report: Report) -> Repeated:
    """Compares the sources of `store`. What is found lies in `folder`, and is not done again."""
    parts = _parts(store, order)
    edges = _edges(parts, store.manifest.seed, report)
    count = -(-sum(store.source(name).rows for name in order) // RANGE_ROWS)
    bounds = [number * 2**64 // count for number in range(count)] + [2**64] if count else []
    ranges = [
        _Range(
            low,
            high - 1,
            tuple(parts[edge.part] for edge in edges if edge.low < high and edge.high >= low),
            storage.join(folder, f"repeated-{number:05}.npz"),
        )
        for number, (low, high) in enumerate(itertools.pairwise(bounds))
    ]
    missing = [range for range in ranges if not storage.exists(range.uri)]
    for done in run_tasks(missing, partial(_compare, seed=store.manifest.seed)):
        report("comparing sources", done)
    return Repeated(tuple(order), tuple(range._replace(parts=()) for range in ranges), store.manifest.seed)


def _parts(store: Store, order: Sequence[str]) -> list[_Part]:
    parts = []
    for number, name in enumerate(order):
        info = store.source(name)
        for held_out, listed in ((False, info.parts), (True, info.held_out_parts)):
            first = 0
            for part in listed:
                if part.rows:
                    parts.append(_Part(number, held_out, storage.join(store.uri, part.path), first))
                first += part.rows
    return parts


def _edges(parts: Sequence[_Part], seed: int, report: Report) -> list[_Edges]:
    numbered = list(enumerate(parts))
    groups = [numbered[start : start + PARTS_OF_TASK] for start in range(0, len(parts), PARTS_OF_TASK)]
    edges = []
    for edge in run_tasks(groups, partial(_read_edges, seed=seed)):
        report("looking at parts", 0)
        edges.append(edge)
    return sorted(edges)


def _read_edges(parts: Sequence[tuple[int, _Part]], seed: int) -> Iterator[_Edges]:
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        yield from pool.map(partial(_edges_of, seed=seed), parts)


def _edges_of(numbered: tuple[int, _Part], seed: int) -> _Edges:
    number, part = numbered
    file = open_parquet(part.uri)
    first = file.read_row_group(0, columns=HASHES, use_threads=False).slice(0, 1)
    last = file.read_row_group(file.num_row_groups - 1, columns=HASHES, use_threads=False)
    edges = [_pair_hashes(table, seed) for table in (first, last.slice(len(last) - 1))]
    return _Edges(number, int(edges[0][0]), int(edges[1][0]))


def _pair_hashes(table: pa.Table, seed: int) -> np.ndarray:
    queries, documents = (table.column(name).to_numpy() for name in HASHES)
    return pair_hashes(queries, documents, seed)


class _Columns(NamedTuple):
    """(n,) arrays of n pairs."""

    query: np.ndarray
    document: np.ndarray
    source: np.ndarray
    held_out: np.ndarray
    row: np.ndarray


def _compare(range: _Range, seed: int) -> Iterator[int]:
    """Writes which pairs of a range leave their source; the number of pairs that were compared."""
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        read = list(pool.map(partial(_rows_in, range=range, seed=seed), range.parts))
    pairs = _Columns(*(np.concatenate(columns) for columns in zip(*read, strict=True)))
    leaving, aside = _leaving(pairs)
    found: dict[str, np.ndarray] = {}
    for number in np.unique(pairs.source[leaving]):
        of_source = pairs.source[leaving] == number
        found |= {f"rows-{number}": pairs.row[leaving[of_source]], f"aside-{number}": aside[of_source]}
    write_arrays(range.uri, **found)
    yield len(pairs.row)


def _leaving(pairs: _Columns) -> tuple[np.ndarray, np.ndarray]:
    """Which of n pairs leave their source: their m places, and whether each is held out elsewhere, (m,) bool.

    Of equal pairs one stays that is held out, else that of the first source. Held-out pairs stay in all sources.
    """
    order = np.lexsort((pairs.source, ~pairs.held_out, pairs.document, pairs.query))
    queries, documents, held_out = (column[order] for column in (pairs.query, pairs.document, pairs.held_out))
    first = np.ones(len(order), bool)
    first[1:] = (queries[1:] != queries[:-1]) | (documents[1:] != documents[:-1])
    staying = np.flatnonzero(first)[np.cumsum(first) - 1]
    leaves = ~first & ~held_out
    return order[leaves], held_out[staying[leaves]]


def _rows_in(part: _Part, range: _Range, seed: int) -> _Columns:
    """The rows of a part whose pair hash is in the range."""
    table = open_parquet(part.uri).read(columns=HASHES, use_threads=False)
    hashes = _pair_hashes(table, seed)
    inside = np.flatnonzero((hashes >= np.uint64(range.low)) & (hashes <= np.uint64(range.high)))
    queries, documents = (table.column(name).to_numpy()[inside] for name in HASHES)
    same = np.full(len(inside), part.source), np.full(len(inside), part.held_out)
    return _Columns(queries, documents, *same, part.first + inside)
