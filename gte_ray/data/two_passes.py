"""Both passes of the external sort over several sources at once, each going on where an earlier call stopped."""

import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial

from gte_ray.data.benchmarks import location
from gte_ray.data.finished import delete_folder
from gte_ray.data.hashing import digest
from gte_ray.data.ids import Report, Tokenization
from gte_ray.data.inputs import Input, unit_keys
from gte_ray.data.join import join_input
from gte_ray.data.journal import read_records, scratch_folder
from gte_ray.data.manifest import SourceInfo
from gte_ray.data.merge import Merge, MergedRange, MergeJob, held_out_documents, merge_range
from gte_ray.data.sort import PartSize, SortedUnit, SortJob, sort_unit
from gte_ray.data.sorted_source import BEYOND, SHARED, SortedSource, split_source
from gte_ray.data.split import Split
from gte_ray.data.units import cut, text_bytes
from gte_ray.runtime import storage
from gte_ray.runtime.pool import run_tasks


def sort_sources(
    uri: str, inputs: Sequence[Input], split: Split, part: PartSize, report: Report
) -> list[SortedSource]:
    """First pass: sorts the pairs of all `inputs` into runs. Units that an earlier call finished stay.

    A source that is to be split becomes one for each value.
    """
    sources = {listed.source.name: SortedSource(listed, split) for listed in inputs}
    jobs: list[SortJob] = []
    for given in inputs:
        listed, dropped = join_input(uri, given, report) if given.source.joins else (given, [])
        sources[listed.source.name].units += dropped
        scratch = scratch_folder(uri, listed.source.name)
        units = cut(listed.files, listed.source.reading)
        keys = unit_keys(listed, units, split)
        done = read_records(
            scratch, SortedUnit, lambda unit: [(run.file.path, run.file.size) for run in unit.runs]
        )
        sources[listed.source.name].units += [done[key] for key in keys if key in done]
        size = text_bytes(listed.files)
        jobs += [
            SortJob(
                listed.source.name,
                unit,
                key,
                listed.source.reading,
                scratch,
                split,
                part,
                size,
                listed.source.limit,
                location(uri, split.benchmarks),
            )
            for unit, key in zip(units, keys, strict=True)
            if key not in done
        ]
    for result in run_tasks(jobs, sort_unit):
        report(f"reading {result.source}", result.rows)
        if result.unit is not None:
            sources[result.source].units.append(result.unit)
    for source in sources.values():
        source.check()
    return [part for source in sources.values() for part in split_source(source)]


def merge_sources(
    uri: str,
    sources: Sequence[SortedSource],
    part: PartSize,
    tokenization: Tokenization | None,
    report: Report,
) -> Iterator[tuple[SortedSource, SourceInfo]]:
    """Second pass: each source as it is finished. Parts that an earlier call finished stay."""
    merges = {source.name: _merge(uri, source, part, tokenization) for source in sources}
    by_name = {source.name: source for source in sources}
    done: dict[str, dict[int, MergedRange]] = {}
    for name, merge in merges.items():
        records = read_records(merge.records, MergedRange, lambda range: _files(uri, range))
        done[name] = {merged.index: merged for merged in records.values()}
        if not records:
            delete_folder(uri, merge.folder)
        elif len(records) == merge.jobs:
            yield by_name[name], _info(by_name[name], merge, done[name])
    jobs = [
        MergeJob(name, index)
        for name, merge in merges.items()
        for index in range(merge.jobs)
        if index not in done[name]
    ]
    packed = {name: pickle.dumps(merge) for name, merge in merges.items()}
    for result in run_tasks(jobs, partial(merge_range, merges=packed)):
        merged = result.range
        report(f"sorting {result.source}", merged.part.rows + merged.held_out.rows)
        done[result.source][merged.index] = merged
        if len(done[result.source]) == merges[result.source].jobs:
            source = by_name[result.source]
            yield source, _info(source, merges[source.name], done[source.name])


def _merge(uri: str, source: SortedSource, part: PartSize, tokenization: Tokenization | None) -> Merge:
    identity = [source.pairs, *([asdict(tokenization.info)] if tokenization else [])]
    folder = f"{source.name}-{digest(*identity)[:8]}"
    parts = part.number(source.rows, source.bytes)
    return Merge(
        uri,
        folder,
        source.runs,
        storage.join(scratch_folder(uri, source.listed.source.name), f"{folder}-{parts}"),
        parts,
        source.split,
        source.kept,
        held_out_documents(source.runs, source.split, source.kept),
        tokenization,
        source.scored,
    )


def _files(uri: str, merged: MergedRange) -> list[tuple[str, int]]:
    return [(storage.join(uri, part.path), part.bytes) for part in (merged.part, merged.held_out)]


def _info(source: SortedSource, merge: Merge, done: Mapping[int, MergedRange]) -> SourceInfo:
    merged = [done[index] for index in range(merge.jobs)]
    shared = sum(range.shared for range in merged)
    dropped = {BEYOND: source.rows - sum(range.rows for range in merged)}
    if source.split.held_out_documents:
        dropped[SHARED], shared = shared, 0
    return SourceInfo(
        name=source.name,
        task=source.listed.source.task,
        rows=sum(range.part.rows for range in merged),
        held_out=sum(range.held_out.rows for range in merged),
        negatives=sum(range.negatives for range in merged),
        read=source.rows,
        dropped=dropped,
        shared_documents=shared,
        reader="",
        input_fingerprint="",
        # With the numbers of rows on both sides of the split, which tell which side a pair is on.
        content=digest(*((range.content, range.part.rows, range.held_out.rows) for range in merged)),
        parts=tuple(range.part for range in merged),
        held_out_parts=tuple(range.held_out for range in merged),
        tokenizer=merge.tokenization.info if merge.tokenization else None,
        input_pairs=source.pairs,
    )
