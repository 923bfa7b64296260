"""An external join before the first pass: a source's rows get fields of other files by key.

The rows of both sides are written as runs sorted by the hash of their key, as the pairs of the first pass are;
a task for each range of hashes holds the other side's rows of that range in memory, and writes this side's with
what they found. So memory is bounded whatever the sizes. (Ray Data's own hash join holds all rows in its
aggregators until the last one has come.) Each task is recorded when it is done.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from gte_ray.data.hashing import digest
from gte_ray.data.ids import Report
from gte_ray.data.inputs import Input
from gte_ray.data.journal import read_records, scratch_folder, write_record
from gte_ray.data.shuffle import Shuffled, Side, shuffle
from gte_ray.data.sort import Counts, SortedUnit
from gte_ray.data.sorted_run import RunFile, read_run
from gte_ray.data.units import text_bytes
from gte_ray.readers.join import Join, best_rows, without
from gte_ray.readers.reading import Reading
from gte_ray.readers.values import MOST_EXAMPLES, Drops
from gte_ray.runtime import storage
from gte_ray.runtime.pool import run_tasks
from gte_ray.runtime.storage import FileStamp

JOIN_VERSION = 2
"""Version of this code. What another version has joined is joined again."""
RANGE_BYTES = 2**28
"""Bytes of the other side's rows that a task holds in memory, about."""
MOST_RANGES = 2**14
JOINED = "done"
"""Name of the record of a join that is done."""


@dataclass(frozen=True)
class JoinedRange:
    """The joined rows of a range of hashes."""

    index: int
    path: str
    size: int
    rows: int
    counts: Counts


@dataclass(frozen=True)
class Joined:
    """A join that is done."""

    parts: tuple[JoinedRange, ...]
    counts: tuple[Counts, ...]
    """What was dropped before any key was looked for."""


class JoinJob(NamedTuple):
    """What the tasks of all ranges of a join are told."""

    name: str
    these: tuple[RunFile, ...]
    others: tuple[RunFile, ...]
    ranges: int
    folder: str


def join_input(uri: str, listed: Input, report: Report) -> tuple[Input, list[SortedUnit]]:
    """`listed` with files of joined rows for its own, and what was dropped on the way there."""
    source, files = listed.source, listed.files
    dropped: list[Counts] = []
    joins = zip(source.joins, source.key_readings, listed.joined, strict=True)
    for number, (join, reading, others) in enumerate(joins):
        key = digest(JOIN_VERSION, listed.fingerprint, number)
        folder = storage.join(scratch_folder(uri, source.name), f"join-{key}")
        files, counts = _join(
            folder,
            join,
            reading,
            files,
            others,
            partial(report, f"joining {source.name}"),
        )
        dropped += counts
    joined = replace(source, reading=source.joined_reading, joins=())
    return replace(listed, source=joined, files=files), [SortedUnit((), counts) for counts in dropped]


def _join(
    folder: str,
    join: Join,
    reading: Reading,
    these: list[FileStamp],
    others: list[FileStamp],
    report: Callable[[int], None],
) -> tuple[list[FileStamp], list[Counts]]:
    known = read_records(folder, Joined, lambda joined: [(part.path, part.size) for part in joined.parts])
    if JOINED not in known:
        ranges = _ranges(text_bytes(these), text_bytes(others))
        left, right = (
            shuffle(storage.join(folder, name), side, files, ranges, report)
            for name, side, files in (
                ("these", Side(reading, name=join.name), these),
                ("others", Side(join.other_rows, rank=join.rank), others),
            )
        )
        job = JoinJob(join.name, _runs(left), _runs(right), ranges, storage.join(folder, "joined"))
        parts = _join_ranges(job, report)
        known[JOINED] = Joined(parts, tuple(unit.counts for unit in left))
        write_record(folder, JOINED, known[JOINED])
        for name in ("these", "others"):
            storage.delete(storage.join(folder, name))
    parts, counts = known[JOINED].parts, known[JOINED].counts
    files = [FileStamp(part.path, part.size, 0) for part in parts if part.rows]
    return files, [*counts, *(part.counts for part in parts)]


def _runs(units: Sequence[Shuffled]) -> tuple[RunFile, ...]:
    return tuple(run for unit in units for run in unit.runs)


def _join_ranges(job: JoinJob, report: Callable[[int], None]) -> tuple[JoinedRange, ...]:
    records = read_records(job.folder, JoinedRange, lambda joined: [(joined.path, joined.size)])
    done = {joined.index: joined for joined in records.values()}
    left = [index for index in range(job.ranges) if index not in done]
    for joined in run_tasks(left, partial(_join_range, job=job)):
        report(joined.rows)
        done[joined.index] = joined
    return tuple(done[index] for index in range(job.ranges))


def _ranges(these: int, others: int) -> int:
    """A power of 2, so that the other side's rows of a range fit a task and its joined rows one file."""
    wanted = max(others / RANGE_BYTES, these / (2 * RANGE_BYTES), 1)
    return min(1 << int(np.ceil(np.log2(wanted))), MOST_RANGES)


def _join_range(index: int, job: JoinJob) -> Iterator[JoinedRange]:
    """Writes this side's rows of a range of hashes, with the other side's."""
    partners = best_rows(_rows(job.others, index, job.ranges))
    path = storage.join(job.folder, f"{index:05}.jsonl.zst")
    drops, rows = Drops(), 0
    field = b", " + json.dumps(job.name).encode() + b": "
    filesystem, location = storage.resolve(path)
    filesystem.create_dir(location.rsplit("/", 1)[0], recursive=True)
    with filesystem.open_output_stream(location) as lines:  # compressed, by its name
        for key, row, _ in _rows(job.these, index, job.ranges):
            partner = partners.get(key)
            if partner is None:
                lost = without(job.name)
                drops.add(lost.of(json.loads(row)) if drops.counts[lost.reason] < MOST_EXAMPLES else lost)
            else:
                lines.write(row[:-1] + field + partner + b"}\n")
                rows += 1
    (size,) = (stamp[1] for stamp in storage.stamps([path]))
    done = JoinedRange(index, path, size, rows, Counts(dict(drops.counts), examples=drops.examples))
    write_record(job.folder, f"{index:05}", done)
    yield done


def _rows(runs: Sequence[RunFile], index: int, ranges: int) -> Iterator[tuple[str, bytes, float]]:
    """(key, row, number) of all rows of a range, in the order of their files."""
    for run in runs:
        table = read_run(run, index, ranges)
        for batch in table.to_batches() if table is not None else ():
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
