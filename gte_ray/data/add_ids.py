"""Token ids into the finished sources of a store."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import NamedTuple

from gte_ray.data.hashing import digest
from gte_ray.data.ids import COLUMNS, Report, Tokenization, with_ids
from gte_ray.data.journal import read_records, scratch_folder, write_record
from gte_ray.data.manifest import SOURCE_FILE, Manifest, Part, SourceInfo
from gte_ray.data.step_plan import ROW_GROUP_ROWS
from gte_ray.data.store import Store
from gte_ray.readers.values import NEGATIVE_SCORES, PAIR_SCORE
from gte_ray.runtime import storage
from gte_ray.runtime.parquet import open_parquet, write_parquet
from gte_ray.runtime.pool import run_grouped

TASK_ROWS = 2**16
"""Most pairs of small parts that one task tokenises."""


class _Job(NamedTuple):
    """A part that gets token ids."""

    source: str
    part: Part
    path: str
    """Of the new part, relative to the store."""
    records: str
    """Folder of the records of the source."""


@dataclass(frozen=True)
class _Tokenized:
    source: str
    before: str
    """Path of the part without ids."""
    part: Part


def add_ids(store: Store, wanted: Tokenization, report: Report) -> Manifest:
    """The manifest of `store` with token ids in all parts; sources that have them are left as they are.

    The parts of all sources are tokenised side by side; those that an earlier call has done are not done again.
    """
    waiting = {source.name: source for source in store.manifest.sources if source.tokenizer != wanted.info}
    jobs = {name: _jobs(store.uri, source, wanted) for name, source in waiting.items()}
    done = {name: _done(store.uri, of_source) for name, of_source in jobs.items()}
    missing = [
        job for name, of_source in jobs.items() for job in of_source if job.part.path not in done[name]
    ]
    infos = {
        name: _finish(store.uri, waiting[name], jobs[name], done[name], wanted)
        for name in waiting
        if _all(jobs, done, name)
    }
    task = partial(tokenize_part, uri=store.uri, wanted=wanted)
    for tokenized in run_grouped(missing, [job.part.rows for job in missing], TASK_ROWS, task):
        name = tokenized.source
        done[name][tokenized.before] = tokenized.part
        report(f"tokenising {name}", tokenized.part.rows)
        if _all(jobs, done, name):
            infos[name] = _finish(store.uri, waiting[name], jobs[name], done[name], wanted)
    sources = tuple(infos.get(source.name, source) for source in store.manifest.sources)
    return replace(store.manifest, sources=sources)


def _all(jobs: dict[str, list[_Job]], done: dict[str, dict[str, Part]], name: str) -> bool:
    return len(done[name]) == len(jobs[name])


def _jobs(uri: str, source: SourceInfo, wanted: Tokenization) -> list[_Job]:
    folder = f"{source.name}-{digest(source.content, source.parts[0].path, asdict(wanted.info))[:8]}"
    records = storage.join(scratch_folder(uri, source.name), f"ids-{folder}")
    parts = (*source.parts, *source.held_out_parts)
    return [_Job(source.name, part, f"{folder}/{storage.name(part.path)}", records) for part in parts]


def _done(uri: str, jobs: Sequence[_Job]) -> dict[str, Part]:
    """The parts that have ids already, by their paths without."""

    def file(tokenized: _Tokenized) -> list[tuple[str, int]]:
        return [(storage.join(uri, tokenized.part.path), tokenized.part.bytes)]

    return {one.before: one.part for one in read_records(jobs[0].records, _Tokenized, file).values()}


def _finish(
    uri: str, source: SourceInfo, jobs: Sequence[_Job], done: dict[str, Part], wanted: Tokenization
) -> SourceInfo:
    changed = replace(
        source,
        parts=tuple(done[part.path] for part in source.parts),
        held_out_parts=tuple(done[part.path] for part in source.held_out_parts),
        tokenizer=wanted.info,
    )
    storage.write_json(storage.join(uri, changed.folder, SOURCE_FILE), asdict(changed))
    storage.delete(scratch_folder(uri, source.name))
    return changed


def tokenize_part(job: _Job, uri: str, wanted: Tokenization) -> Iterator[_Tokenized]:
    file = open_parquet(storage.join(uri, job.part.path))
    scores = [name for name in (PAIR_SCORE, NEGATIVE_SCORES) if name in file.schema_arrow.names]
    table = with_ids(file.read(columns=[*COLUMNS, *scores], use_threads=False), wanted)
    size = write_parquet(table, storage.join(uri, job.path), ROW_GROUP_ROWS)
    tokenized = _Tokenized(job.source, job.part.path, Part(job.path, len(table), size))
    write_record(job.records, storage.name(job.path), tokenized)
    yield tokenized
