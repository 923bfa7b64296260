"""The parts of a finished source written again into another store: with other negatives, or with fewer pairs."""

import pickle
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from gte_ray.data.benchmarks import delete_others, location
from gte_ray.data.finished import delete_folder, write_manifest
from gte_ray.data.hashing import digest
from gte_ray.data.ids import Report
from gte_ray.data.inputs import staying_sources
from gte_ray.data.manifest import SOURCE_FILE, Part, SourceInfo
from gte_ray.data.step_plan import ROW_GROUP_ROWS
from gte_ray.data.store import Store, open_store
from gte_ray.errors import UsageError
from gte_ray.runtime import storage
from gte_ray.runtime.parquet import open_parquet, write_parquet
from gte_ray.runtime.pool import run_grouped

TASK_ROWS = 2**17
"""Most pairs of small parts that are written by one task."""
READS_AT_ONCE = 16
"""Sources whose held-out pairs are read concurrently, because remote storage is slow to respond."""


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
    lost_negatives: Mapping[str, int] = {}
    """The same of hard negatives, or of candidates for them."""


Change = Callable[[PartRows, pa.Table], Changed]


class Plan(NamedTuple):
    """What becomes of a source."""

    source: SourceInfo
    fingerprint: str
    """Of the result."""
    change: Change


class _Job(NamedTuple):
    source: str
    rows: PartRows | None
    """None for a part of held-out pairs, which is copied."""
    part: Part
    path: str
    """Of the new part, relative to the new store."""


class _Written(NamedTuple):
    job: _Job
    part: Part
    negatives: int = 0
    shared: int = 0
    content: str = ""
    dropped: Mapping[str, int] = {}
    lost_negatives: Mapping[str, int] = {}


class _Told(NamedTuple):
    """What the tasks of a source are told."""

    change: Change
    held_out: np.ndarray
    """(d,) uint64: hashes of the documents of all held-out pairs."""


def refuse_same_place(store: Store, uri: str, done: str) -> None:
    """Raises UsageError if the new store would be written over the one that it is `done` to."""
    if storage.same_place(uri, store.uri):
        raise UsageError(f"OUT is {uri}; allowed is another place than that of the store that is {done}")


def check_place(store: Store, uri: str, names: Collection[str]) -> None:
    """Raises UsageError if sources of `store` cannot stand beside those of the store at `uri` that are not among `names`.

    They need the same split, and token ids by the same tokenizer.
    """
    staying = staying_sources(uri, names, (), store.manifest.split)
    tokenizers = {info.tokenizer for info in (*staying, *map(store.source, names))}
    if staying and len(tokenizers) > 1:
        raise UsageError(
            f"{uri}: keeps {', '.join(info.name for info in staying)}, whose token ids are of another tokenizer than those of "
            f"{store.uri}, or one of both has none; allowed is another place, or the same (--tokenizer of prepare)"
        )


def rewrite_sources(store: Store, uri: str, plans: Sequence[Plan], report: Report) -> Iterator[SourceInfo]:
    """Writes sources of `store` into the store at `uri`, each part as its plan makes it; each as it is finished.

    The parts of all sources are written side by side, in Ray tasks, a source's record last. Held-out pairs stay as
    they are.
    """
    folders = {plan.source.name: f"{plan.source.name}-{plan.fingerprint[:8]}" for plan in plans}
    told: dict[str, bytes] = {}
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        held_out = pool.map(lambda plan: _held_out_documents(store, plan.source), plans)
        for plan, hashes in zip(plans, held_out, strict=True):
            delete_folder(uri, folders[plan.source.name])
            # A task unpickles what it is told of its own source, and not of a thousand others.
            told[plan.source.name] = pickle.dumps(_Told(plan.change, hashes))
    jobs = {plan.source.name: _jobs(plan.source, folders[plan.source.name]) for plan in plans}
    done: dict[str, list[_Written]] = {name: [] for name in jobs}
    by_name = {plan.source.name: plan for plan in plans}
    write = partial(write_part, store=storage.absolute(store.uri), uri=storage.absolute(uri), told=told)
    every = [job for of_source in jobs.values() for job in of_source]
    for written in run_grouped(every, [job.part.rows for job in every], TASK_ROWS, write):
        name = written.job.source
        done[name].append(written)
        report(f"writing {name}", written.part.rows if written.job.rows else 0)
        if len(done[name]) == len(jobs[name]):
            info = _info(by_name[name], jobs[name], done[name])
            storage.write_json(storage.join(uri, folders[name], SOURCE_FILE), asdict(info))
            yield info


def _held_out_documents(store: Store, source: SourceInfo) -> np.ndarray:
    return store.read_held_out(source.name, source.held_out).column("document_hash").to_numpy()


def part_rows(source: SourceInfo) -> list[PartRows]:
    """The rows of each part of a source."""
    return [
        PartRows(number, end - part.rows, end)
        for number, (part, end) in enumerate(zip(source.parts, source.ends, strict=True))
    ]


def _jobs(source: SourceInfo, folder: str) -> list[_Job]:
    jobs = [
        _Job(source.name, rows, part, f"{folder}/{storage.name(part.path)}")
        for rows, part in zip(part_rows(source), source.parts, strict=True)
    ]
    return jobs + [
        _Job(source.name, None, part, f"{folder}/{storage.name(part.path)}") for part in source.held_out_parts
    ]


def _info(plan: Plan, jobs: Sequence[_Job], done: Sequence[_Written]) -> SourceInfo:
    by_path = {written.job.path: written for written in done}
    in_order = [by_path[job.path] for job in jobs]
    trained = [written for written in in_order if written.job.rows is not None]
    dropped, lost = Counter(plan.source.dropped), Counter(plan.source.lost_negatives)
    for written in trained:
        dropped.update(written.dropped)
        lost.update(written.lost_negatives)
    content = plan.source.content
    if any(written.content for written in trained):
        content = digest(content, *(written.content for written in trained))
    return replace(
        plan.source,
        input_fingerprint=plan.fingerprint,
        input_pairs="",  # these are not all pairs of the input
        content=content,
        rows=sum(written.part.rows for written in trained),
        dropped=dict(sorted(dropped.items())),
        lost_negatives=dict(lost),
        negatives=sum(written.negatives for written in trained),
        shared_documents=sum(written.shared for written in trained),
        parts=tuple(written.part for written in trained),
        held_out_parts=tuple(written.part for written in in_order if written.job.rows is None),
    )


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
    delete_others(uri, manifest.benchmarks)
    for folder in storage.folders(uri):
        if folder.startswith(scratch):
            storage.delete(storage.join(uri, folder))  # also those of an earlier call with other settings
    return open_store(uri)


def column_array(table: pa.Table, name: str) -> pa.Array:
    return table.column(name).combine_chunks()


def write_part(job: _Job, store: str, uri: str, told: Mapping[str, bytes]) -> Iterator[_Written]:
    old, new = storage.join(store, job.part.path), storage.join(uri, job.path)
    if job.rows is None:
        storage.write_bytes(new, storage.read_bytes(old))
        yield _Written(job, replace(job.part, path=job.path))
        return
    change, held_out = pickle.loads(told[job.source])
    changed = change(job.rows, open_parquet(old).read(use_threads=False))
    table = changed.table
    size = write_parquet(table, new, ROW_GROUP_ROWS)
    yield _Written(
        job,
        Part(job.path, len(table), size),
        negatives=len(column_array(table, "negative_hashes").flatten()),
        shared=int(np.isin(table.column("document_hash").to_numpy(), held_out).sum()),
        content=changed.content,
        dropped=changed.dropped,
        lost_negatives=changed.lost_negatives,
    )
