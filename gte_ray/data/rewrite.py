"""The parts of a finished source written again into another store: with other negatives, or with fewer pairs."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from gte_ray.data.benchmarks import location
from gte_ray.data.finished import delete_folder, write_manifest
from gte_ray.data.hashing import digest
from gte_ray.data.ids import Report
from gte_ray.data.inputs import staying_sources
from gte_ray.data.step_plan import ROW_GROUP_ROWS
from gte_ray.data.store import SOURCE_FILE, Part, SourceInfo, Store, open_store
from gte_ray.runtime import storage
from gte_ray.runtime.parquet import open_parquet, write_parquet
from gte_ray.runtime.pool import run_tasks


class PartRows(NamedTuple):
    """The rows of a source that one of its parts has: start <= row < stop."""

    number: int
    """Of the part among those of the source."""
    start: int
    stop: int


class Changed(NamedTuple):
    table: pa.Table
    content: str
    """A digest of the change; empty for none."""
    dropped: Mapping[str, int] = {}
    """Number of pairs that were left out, by reason."""


Change = Callable[[PartRows, pa.Table], Changed]


class _Job(NamedTuple):
    rows: PartRows
    path: str
    """Of the new part, relative to the new store."""


class _Written(NamedTuple):
    number: int
    part: Part
    negatives: int
    shared: int
    content: str
    dropped: Mapping[str, int]


def rewrite_source(
    store: Store, uri: str, source: SourceInfo, fingerprint: str, change: Change, report: Report
) -> SourceInfo:
    """Writes `source` of `store` into the store at `uri`, each part as `change` makes it; its record last.

    `change` runs in Ray tasks. `fingerprint` identifies the result. Held-out pairs stay as they are.
    """
    folder = f"{source.name}-{fingerprint[:8]}"
    delete_folder(uri, folder)
    ends = accumulate(part.rows for part in source.parts)
    jobs = [
        _Job(PartRows(number, end - part.rows, end), f"{folder}/{storage.name(part.path)}")
        for number, (part, end) in enumerate(zip(source.parts, ends, strict=True))
    ]
    held_out = store.read_held_out(source.name, source.held_out).column("document_hash").to_numpy()
    write = partial(
        _write_part, store=store, uri=storage.absolute(uri), source=source, change=change, held_out=held_out
    )
    written: list[_Written] = []
    for done in run_tasks(jobs, write):
        written.append(done)
        report(f"writing {source.name}", done.part.rows)
    written.sort(key=lambda done: done.number)
    dropped = Counter(source.dropped)
    for done in written:
        dropped.update(done.dropped)
    changed = any(done.content for done in written)
    info = replace(
        source,
        input_fingerprint=fingerprint,
        content=digest(source.content, *(done.content for done in written)) if changed else source.content,
        rows=sum(done.part.rows for done in written),
        dropped=dict(sorted(dropped.items())),
        negatives=sum(done.negatives for done in written),
        shared_documents=sum(done.shared for done in written),
        parts=tuple(done.part for done in written),
        held_out_parts=tuple(_copy_part(store, uri, part, folder) for part in source.held_out_parts),
    )
    storage.write_json(storage.join(uri, folder, SOURCE_FILE), asdict(info))
    return info


def finish(store: Store, uri: str, infos: Mapping[str, SourceInfo], scratch: str) -> Store:
    """Makes the rewritten sources of `store` visible at `uri`, beside those that are there and not among them.

    Folders whose names begin with `scratch` are deleted.
    """
    manifest = store.manifest
    if manifest.tokenizer is not None:
        folder = manifest.tokenizer.folder
        with storage.local_folder(storage.join(store.uri, folder)) as local:
            storage.upload(local, storage.join(uri, folder))
    if manifest.benchmarks:
        texts = storage.read_bytes(location(store.uri, manifest.benchmarks))
        storage.write_bytes(location(uri, manifest.benchmarks), texts)
    staying = staying_sources(uri, infos, (), manifest.split)
    write_manifest(uri, replace(manifest, sources=(*staying, *infos.values())))
    for folder in storage.folders(uri):
        if folder.startswith(scratch):
            storage.delete(storage.join(uri, folder))  # also those of an earlier call with other settings
    return open_store(uri)


def column_array(table: pa.Table, name: str) -> pa.Array:
    return table.column(name).combine_chunks()


def _copy_part(store: Store, uri: str, part: Part, folder: str) -> Part:
    path = f"{folder}/{storage.name(part.path)}"
    storage.write_bytes(storage.join(uri, path), storage.read_bytes(storage.join(store.uri, part.path)))
    return replace(part, path=path)


def _write_part(
    job: _Job, *, store: Store, uri: str, source: SourceInfo, change: Change, held_out: np.ndarray
) -> Iterator[_Written]:
    part = source.parts[job.rows.number]
    changed = change(job.rows, open_parquet(storage.join(store.uri, part.path)).read(use_threads=False))
    table = changed.table
    size = write_parquet(table, storage.join(uri, job.path), ROW_GROUP_ROWS)
    yield _Written(
        job.rows.number,
        Part(job.path, len(table), size),
        negatives=len(column_array(table, "negative_hashes").flatten()),
        shared=int(np.isin(table.column("document_hash").to_numpy(), held_out).sum()),
        content=changed.content,
        dropped=changed.dropped,
    )
