"""Reads all of a store and compares it with its manifest and its own hashes."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gte_ray.data.hashing import pair_hashes, text_hashes
from gte_ray.data.ids import Report
from gte_ray.data.manifest import Part
from gte_ray.data.store import Store
from gte_ray.errors import RunError
from gte_ray.runtime import storage
from gte_ray.runtime.parquet import open_parquet
from gte_ray.runtime.pool import run_tasks


class _Job(NamedTuple):
    source: str
    held_out: bool
    number: int
    part: Part


class _Range(NamedTuple):
    job: _Job
    first: int
    """Least hash of a pair in the part."""
    last: int


@dataclass(frozen=True)
class Verified:
    files: int
    pairs: int


def verify(store: Store, report: Report) -> Verified:
    """Reads each part of `store`, in tasks of Ray, which must be initialised.

    Raises RunError with the first fault found: rows other than the manifest says, a hash that is not that of
    its text, pairs out of order.
    """
    jobs = [
        _Job(source.name, held_out, number, part)
        for source in store.manifest.sources
        for held_out, parts in ((False, source.parts), (True, source.held_out_parts))
        for number, part in enumerate(parts)
    ]
    ranges: list[_Range] = []
    for result in run_tasks(jobs, partial(_verify_part, store=store)):
        report(f"verifying {result.job.source}", result.job.part.rows)
        ranges.append(result)
    _check_order(store, ranges)
    return Verified(len(jobs), sum(job.part.rows for job in jobs))


def _verify_part(job: _Job, store: Store) -> Iterator[_Range]:
    location, split = storage.join(store.uri, job.part.path), store.manifest.split
    rows, first, last = 0, 0, -1
    before: tuple[np.ndarray, ...] = ()
    with open_parquet(location, checked=True) as file:
        for batch in _batches(file, location):
            queries, documents = (_hashes(batch, name, location, rows) for name in ("query", "document"))
            pairs = pair_hashes(queries, documents, split.seed)
            wrong = _not_after(before, (pairs, queries, documents))
            if len(wrong):
                raise RunError(f"{location}: row {rows + wrong[0]} is not in the order of the pairs' hashes")
            before = (pairs[-1:], queries[-1:], documents[-1:])
            first, last = (first if rows else int(pairs[0])), int(pairs[-1])
            rows += len(batch)
    if rows != job.part.rows:
        raise RunError(f"{location}: has {rows} rows where the manifest says {job.part.rows}")
    yield _Range(job, first, last)


def _not_after(before: tuple[np.ndarray, ...], keys: tuple[np.ndarray, ...]) -> np.ndarray:
    """The rows whose `keys`, most significant first, are not above those of the row in front of them.

    `before` are the keys of the last row before these; empty if there is none.
    """
    above = np.zeros(len(keys[0]), bool)
    equal = np.ones(len(keys[0]), bool)
    above[:1] = not before
    for number, key in enumerate(keys):
        earlier = np.concatenate((before[number] if before else key[:1], key[:-1]))
        above |= equal & (key > earlier)
        equal &= key == earlier
    return np.flatnonzero(~above)


def _batches(file: pq.ParquetFile, location: str) -> Iterator[pa.RecordBatch]:
    """All columns are read, so that damage shows in any of them: each page has a checksum."""
    try:
        for batch in file.iter_batches(use_threads=False):
            batch.validate(full=True)
            if len(batch):
                yield batch
    except (pa.ArrowException, OSError, KeyError) as error:
        raise RunError(f"{location}: cannot be read ({str(error).splitlines()[0]})") from error


def _hashes(batch: pa.RecordBatch, name: str, location: str, row: int) -> np.ndarray:
    stored = batch.column(f"{name}_hash").to_numpy()
    wrong = np.flatnonzero(stored != text_hashes(pc.cast(batch.column(name), pa.large_string())))
    if len(wrong):
        raise RunError(
            f"{location}: the {name} of row {row + wrong[0]} has another hash than is stored with it"
        )
    return stored


def _check_order(store: Store, ranges: list[_Range]) -> None:
    """Raises RunError if the parts of a source are not in the order of their pairs' hashes."""
    last: dict[tuple[str, bool], int] = {}
    for job, first, end in sorted(ranges, key=lambda r: (r.job.source, r.job.held_out, r.job.number)):
        side = job.source, job.held_out
        if job.part.rows:
            if first <= last.get(side, -1):
                location = storage.join(store.uri, job.part.path)
                raise RunError(f"{location}: begins before the part in front of it ends")
            last[side] = end
