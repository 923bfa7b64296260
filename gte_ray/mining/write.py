"""The parts of a source again, with the negatives that were found beside their pairs."""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from gte_ray.data.finished import delete_folder
from gte_ray.data.hashing import digest
from gte_ray.data.ids import Report
from gte_ray.data.negatives import flat, list_array, unite_negatives
from gte_ray.data.step_plan import ROW_GROUP_ROWS
from gte_ray.data.store import SOURCE_FILE, Part, SourceInfo, Store
from gte_ray.mining.choose import Window, choose
from gte_ray.mining.pairs import Pairs
from gte_ray.mining.search import BLOCK_TEXTS, read_arrays, read_column
from gte_ray.runtime import storage
from gte_ray.runtime.parquet import open_parquet, write_parquet
from gte_ray.runtime.pool import run_tasks


class _Job(NamedTuple):
    """A part that is written again."""

    number: int
    """Of the part among those of the source."""
    first: int
    """Row of the source that the part begins with."""
    path: str
    """Of the new part, relative to the new store."""


class _Written(NamedTuple):
    number: int
    part: Part
    negatives: int
    content: str
    """A digest of the negatives."""


def write_source(store: Store, uri: str, pairs: Pairs, window: Window, report: Report) -> SourceInfo:
    source, folder = pairs.source, f"{pairs.source.name}-{pairs.fingerprint[:8]}"
    delete_folder(uri, folder)
    ends = np.cumsum([part.rows for part in source.parts])
    jobs = [
        _Job(number, int(end - part.rows), f"{folder}/{storage.name(part.path)}")
        for number, (part, end) in enumerate(zip(source.parts, ends, strict=True))
    ]
    write = partial(_write_part, store=store, uri=storage.absolute(uri), pairs=pairs, window=window)
    written: list[_Written] = []
    for done in run_tasks(jobs, write):
        written.append(done)
        report(f"writing {source.name}", done.part.rows)
    written.sort(key=lambda done: done.number)
    held_out = []
    for part in source.held_out_parts:
        path = f"{folder}/{storage.name(part.path)}"
        storage.write_bytes(storage.join(uri, path), storage.read_bytes(storage.join(store.uri, part.path)))
        held_out.append(replace(part, path=path))
    info = replace(
        source,
        input_fingerprint=pairs.fingerprint,
        content=digest(source.content, *(done.content for done in written)),
        negatives=sum(done.negatives for done in written),
        parts=tuple(done.part for done in written),
        held_out_parts=tuple(held_out),
    )
    storage.write_json(storage.join(uri, folder, SOURCE_FILE), asdict(info))
    return info


def _write_part(job: _Job, store: Store, uri: str, pairs: Pairs, window: Window) -> Iterator[_Written]:
    """A part with its pairs' negatives: those that it had, and those that were found."""
    source = pairs.source
    part = source.parts[job.number]
    table = open_parquet(storage.join(store.uri, part.path)).read(use_threads=False)
    rows = slice(job.first, job.first + part.rows)
    hashes = [table.column(name).to_numpy() for name in ("query_hash", "document_hash")]
    documents, scores, own = _found(pairs, rows)
    owners, numbers = choose(documents, scores, own, hashes[0], hashes[1], window)
    kinds, picks = np.unique(numbers, return_inverse=True)
    places = pairs.task.documents.rows[kinds]
    columns = {"negatives": "document", "negative_hashes": "document_hash"}
    columns |= {"negative_ids": "document_ids"} if source.tokenizer else {}
    _, offsets = flat(_array(table, "negative_hashes"))
    old_owners = np.repeat(np.arange(part.rows), np.diff(offsets))
    items = {
        name: pa.concat_arrays(
            [
                flat(_array(table, name))[0],
                read_column(store, source.name, places, column).take(pa.array(picks)),
            ]
        )
        for name, column in columns.items()
    }
    kept, offsets = unite_negatives(
        items["negative_hashes"].to_numpy(), np.concatenate([old_owners, owners]), hashes[0], hashes[1]
    )
    for name, values in items.items():
        lists = list_array(offsets, values.take(pa.array(kept)))
        table = table.set_column(table.schema.get_field_index(name), name, lists)
    size = write_parquet(table, storage.join(uri, job.path), ROW_GROUP_ROWS)
    content = hashlib.sha256(offsets.tobytes() + items["negative_hashes"].to_numpy()[kept].tobytes())
    yield _Written(job.number, Part(job.path, part.rows, size), len(kept), content.hexdigest())


def _found(pairs: Pairs, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, k) documents and (n, k) scores for the queries of the pairs `rows`, and their own (n,) scores."""
    task, queries, documents = pairs.task, pairs.queries[rows], pairs.documents[rows]
    best = np.empty((len(queries), task.k), np.int64)
    scores = np.empty((len(queries), task.k), np.float32)
    own = np.empty(len(queries), np.float32)
    block_of_row = queries // BLOCK_TEXTS
    for block in np.unique(block_of_row):
        inside, result = block_of_row == block, read_arrays(task.path("found", int(block)))
        local = queries[inside] - block * BLOCK_TEXTS
        best[inside], scores[inside] = result["documents"][local], result["scores"][local]
        excluded = task.excluded_of(int(block))
        width = len(task.documents.rows)
        keys = excluded[:, 0] * width + excluded[:, 1]  # ascending, as `excluded` is
        own[inside] = result["excluded"][np.searchsorted(keys, local * width + documents[inside])]
    return best, scores, own


def _array(table: pa.Table, name: str) -> pa.Array:
    return pa.concat_arrays(table.column(name).chunks)
