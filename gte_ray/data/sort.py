"""The first pass of the external sort: pairs of some files as sorted runs, each of bounded size."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gte_ray.data.benchmarks import without_benchmarks
from gte_ray.data.hashing import pair_hashes, text_hashes
from gte_ray.data.journal import write_record
from gte_ray.data.negatives import flat
from gte_ray.data.scores import alike, drop_unknown, score_array, score_hashes
from gte_ray.data.sorted_run import RunFile, write_run
from gte_ray.data.split import Split
from gte_ray.data.units import Unit
from gte_ray.errors import RunError
from gte_ray.readers.chunks import read_pairs
from gte_ray.readers.reading import Reading
from gte_ray.readers.values import NEGATIVE_SCORES, PAIR_SCORE, Examples, unite_examples
from gte_ray.runtime import storage

HELD_OUT = ".held_out"
"""Ending of the files beside the runs, with the hashes of what may be held out: queries, then documents."""
MOST_GROUPS = 1_000
"""Most sources that one is split into: each costs files of its own."""
Item = TypeVar("Item")
RUN_BYTES = 2**29
"""Bytes of text that a task gathers before it sorts and writes them: the larger, the fewer reads later."""


@dataclass(frozen=True)
class Counts:
    """What was read besides pairs, by reason or by column."""

    dropped: dict[str, int] = field(default_factory=dict)
    unused: dict[str, int] = field(default_factory=dict)
    lost_negatives: dict[str, int] = field(default_factory=dict)
    layouts: tuple[str, ...] = ()
    examples: Examples = field(default_factory=dict)
    """The first rows that were dropped, by reason."""


@dataclass(frozen=True)
class SortedRun:
    file: RunFile
    rows: int
    bytes: int
    """In memory."""
    checksum: int
    """Sum of the hashes of the pairs, of their negatives and scores modulo 2^64, whatever their order."""
    group: str = ""
    """The value by which the source is split, that all pairs of the run have."""
    scored: bool = False
    """Whether a teacher's scores are there."""


@dataclass(frozen=True)
class SortedUnit:
    """What one task of the first pass wrote and counted."""

    runs: tuple[SortedRun, ...]
    counts: Counts

    @property
    def rows(self) -> int:
        return sum(run.rows for run in self.runs)

    @property
    def bytes(self) -> int:
        return sum(run.bytes for run in self.runs)


@dataclass(frozen=True)
class PartSize:
    """How large the parts of a store are at most, on average: what a task of the second pass holds in memory."""

    rows: int
    bytes: int
    """Counts in place of the rows where pairs are long or have many negatives."""

    def number(self, rows: float, size: float) -> int:
        """Number of parts of `rows` pairs of `size` bytes in all: a power of 2, so that ranges nest."""
        return 1 << max(0, int(np.ceil(np.log2(max(rows / self.rows, size / self.bytes, 1)))))


class SortJob(NamedTuple):
    """A unit of the first pass, with what its task is told."""

    source: str
    unit: Unit
    key: str
    """Identifies the unit's input and all settings that shape its runs."""
    reading: Reading
    scratch: str
    """Folder of the runs and records."""
    split: Split
    part: PartSize
    text_bytes: int
    """Of the whole source, estimated."""
    limit: int
    """Pairs of the source that are kept, about; 0 for all."""
    benchmarks: str
    """File of the texts whose pairs are left out; empty for none."""


class Sorted(NamedTuple):
    source: str
    rows: int
    """Pairs since the last result."""
    unit: SortedUnit | None
    """Once the unit is done."""


def sort_unit(job: SortJob) -> Iterator[Sorted]:
    """Writes the pairs of a unit as runs in ascending order of (pair hash, query hash, document hash)."""
    runs: list[SortedRun] = []
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("dropped", "unused", "lost_negatives")}
    layouts: set[str] = set()
    examples: Examples = {}
    gathered: list[pa.Table] = []
    size = 0
    chunks = (
        without_benchmarks(chunk, job.benchmarks)
        for piece in job.unit
        for chunk in read_pairs(piece, job.reading)
    )
    for chunk in with_end(chunks):
        if chunk is not None:
            for name, total in counts.items():
                total.update(getattr(chunk, name))
            layouts |= set(chunk.layout.split("; ")) - {""}
            unite_examples(examples, chunk.examples)
            gathered.append(chunk.table)
            size += chunk.table.nbytes
        if gathered and (chunk is None or size > RUN_BYTES):
            gathered = alike(gathered)
            for group, tables in _groups(gathered, job):
                run = _write_run(tables, job, len(runs), group)
                if run is not None:
                    runs.append(run)
                    yield Sorted(job.source, run.rows, None)
            gathered, size = [], 0
    done = SortedUnit(
        tuple(runs),
        Counts(
            **{name: dict(total) for name, total in counts.items()},
            layouts=tuple(sorted(layouts)),
            examples=examples,
        ),
    )
    write_record(job.scratch, job.key, done)
    yield Sorted(job.source, 0, done)


def with_end(items: Iterator[Item]) -> Iterator[Item | None]:
    """The items, then None, for what is left to do after the last."""
    yield from items
    yield None


def _groups(tables: list[pa.Table], job: SortJob) -> Iterator[tuple[str, list[pa.Table]]]:
    """The rows of each value that the source is split by, or all of them; takes the tables out of the list."""
    if not job.reading.split_by:
        yield "", tables
        return
    filled = [table for table in tables if table.num_rows]
    tables.clear()
    if not filled:
        return
    table = pa.concat_tables(filled)
    del filled
    codes = table.column("group").combine_chunks().dictionary_encode()
    if len(codes.dictionary) > MOST_GROUPS:
        raise RunError(
            f"source {job.source}: split_by {job.reading.split_by!r} has more than {MOST_GROUPS:,} values; "
            "allowed is a field of few values, such as the name of a task"
        )
    table = table.drop_columns(["group"])
    for code, group in enumerate(codes.dictionary.to_pylist()):
        yield group, [table.filter(pc.equal(codes.indices, code))]


def _write_run(tables: list[pa.Table], job: SortJob, number: int, group: str) -> SortedRun | None:
    """Writes the rows of `tables`, which it takes out of the list; None if there are none."""
    columns = {
        name: [chunk for table in tables for chunk in table.column(name).chunks]
        for name in tables[0].column_names
    }
    size = sum(table.nbytes for table in tables)
    tables.clear()
    # Column by column, so that no more than one of them is in memory twice.
    whole = {name: pa.concat_arrays(columns.pop(name)) for name in list(columns)}
    drop_unknown(whole)
    queries, documents = (text_hashes(whole[name]) for name in ("query", "document"))
    pairs = pair_hashes(queries, documents, job.split.seed)
    if not len(pairs):
        return None
    whole |= {
        "query_hash": pa.array(queries),
        "document_hash": pa.array(documents),
        "pair_hash": pa.array(pairs),
    }
    # Twice the parts that the source will have by its size: where the estimate is too low, a part's task
    # reads more than it keeps.
    cuts = 2 * job.part.number(job.text_bytes / (size / len(pairs)), job.text_bytes)
    path = storage.join(job.scratch, f"{job.key}-{number}.run")
    # All that the whole source will hold out, and more: the more rows, the fewer of these.
    aside = job.split.is_held_out(queries, min(len(pairs), job.limit or len(pairs)))
    storage.write_bytes(path + HELD_OUT, np.stack([queries[aside], documents[aside]]).tobytes())
    file = write_run(path, whole, pairs, np.lexsort((documents, queries, pairs)), cuts)
    return SortedRun(file, len(pairs), size, _checksum(whole, pairs), group, PAIR_SCORE in whole)


def _checksum(columns: dict[str, pa.Array], pairs: np.ndarray) -> int:
    """Of the pairs with these (n,) hashes, of their negatives and scores; see `SortedRun`."""
    negatives, offsets = flat(columns["negatives"])
    owned = pair_hashes(np.repeat(pairs, np.diff(offsets)), text_hashes(negatives), 0)
    hashes = [pairs, owned]
    if PAIR_SCORE in columns:
        hashes.append(score_hashes(score_array(columns[PAIR_SCORE]), pairs))
        hashes.append(score_hashes(score_array(flat(columns[NEGATIVE_SCORES])[0]), owned))
    return sum(int(part.sum(dtype=np.uint64)) for part in hashes) % 2**64
