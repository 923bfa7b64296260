"""Rows of files as runs sorted by the hash of their key, for `join`."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from gte_ray.data.hashing import digest, text_hashes
from gte_ray.data.journal import read_records, write_record
from gte_ray.data.sort import Counts, with_end
from gte_ray.data.sorted_run import RunFile, write_run
from gte_ray.data.units import Unit, cut
from gte_ray.readers.formats import read_items
from gte_ray.readers.join import Row, keyed
from gte_ray.readers.reading import Reading
from gte_ray.readers.values import Dropped, Drops
from gte_ray.runtime import storage
from gte_ray.runtime.pool import run_tasks
from gte_ray.runtime.storage import FileStamp

RUN_BYTES = 2**27
"""Bytes of rows that a task gathers before it sorts and writes them."""


def unranked(row: Row) -> float:
    return 0.0


class Side(NamedTuple):
    """One side of a join: how its rows and keys are read."""

    reading: Reading
    """Whose pairs are (row, key)."""
    name: str = ""
    """The field that rows are to get, and must not have."""
    rank: Callable[[Row], float] = unranked
    """Of several rows with one key, that with the highest is taken."""


class ShuffleJob(NamedTuple):
    unit: Unit
    key: str
    """Identifies the unit's input."""
    side: Side
    folder: str
    ranges: int


@dataclass(frozen=True)
class Shuffled:
    """What one task wrote of one side."""

    runs: tuple[RunFile, ...]
    rows: int
    counts: Counts


def shuffle(
    folder: str, side: Side, files: list[FileStamp], ranges: int, report: Callable[[int], None]
) -> list[Shuffled]:
    """Writes the rows of one side as runs; in the order of their files."""
    stamps = {file.uri: file for file in files}
    jobs = [
        ShuffleJob(
            unit,
            f"{number}-{digest([(asdict(piece), stamps[piece.uri]) for piece in unit])}",
            side,
            folder,
            ranges,
        )
        for number, unit in enumerate(cut(files, side.reading))
    ]
    done = read_records(folder, Shuffled, lambda unit: [(run.path, run.size) for run in unit.runs])
    for key, shuffled in run_tasks([job for job in jobs if job.key not in done], _shuffle_unit):
        report(shuffled.rows)
        done[key] = shuffled
    return [done[job.key] for job in jobs]


class _Rows:
    """Rows of a unit that wait to be written."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.rows: list[bytes] = []
        self.ranks: list[float] = []
        self.size = 0

    def add(self, key: str, row: bytes, rank: float) -> None:
        self.keys.append(key)
        self.rows.append(row)
        self.ranks.append(rank)
        self.size += len(row) + len(key)

    def write(self, path: str, ranges: int) -> RunFile:
        keys = pa.array(self.keys, pa.large_string())
        columns = {
            "key": keys,
            "row": pa.array(self.rows, pa.large_binary()),
            "rank": pa.array(self.ranks, pa.float64()),
        }
        hashes = text_hashes(keys)
        return write_run(path, columns, hashes, np.argsort(hashes, kind="stable"), ranges)


def _shuffle_unit(job: ShuffleJob) -> Iterator[tuple[str, Shuffled]]:
    drops, runs = Drops(), list[RunFile]()
    waiting, rows = _Rows(), 0
    for item in with_end(_read(job)):
        if isinstance(item, Dropped):
            drops.add(item)
        elif item is not None:
            key, row = item
            waiting.add(key, _encoded(row), job.side.rank(row))
            rows += 1
        if waiting.keys and (item is None or waiting.size > RUN_BYTES):
            path = storage.join(job.folder, f"{job.key}-{len(runs)}.run")
            runs.append(waiting.write(path, job.ranges))
            waiting = _Rows()
    done = Shuffled(tuple(runs), rows, Counts(dict(drops.counts), examples=drops.examples))
    write_record(job.folder, job.key, done)
    yield job.key, done


def _read(job: ShuffleJob) -> Iterator[tuple[str, Row] | Dropped]:
    for piece in job.unit:
        reading = job.side.reading
        yield from keyed(read_items(piece, reading), reading.document, job.side.name, piece.uri)


def _encoded(row: dict[str, Any]) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:  # what was no UTF-8 stays what it is, so that it is dropped and counted
        return json.dumps(row, default=str).encode()
