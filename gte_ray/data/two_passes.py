"""Both passes of the external sort over several sources at once, each going on where an earlier call stopped."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial

from gte_ray.data.finished import delete_folder
from gte_ray.data.hashing import digest
from gte_ray.data.ids import VOCABULARY_ROWS, Report, Tokenization, vocabulary_texts
from gte_ray.data.inputs import Input, unit_keys
from gte_ray.data.journal import read_records, scratch_folder
from gte_ray.data.merge import (
    Kept,
    Merge,
    MergedRange,
    MergeJob,
    first_pairs,
    held_out_documents,
    merge_range,
)
from gte_ray.data.sort import PartSize, SortedUnit, SortJob, sort_unit
from gte_ray.data.sorted_run import RunFile
from gte_ray.data.split import Split
from gte_ray.data.store import SourceInfo
from gte_ray.data.units import cut, text_bytes
from gte_ray.errors import RunError
from gte_ray.runtime import storage
from gte_ray.runtime.pool import run_tasks
from gte_ray.sources.reading import OTHERWISE

SHARED = "document held out"
"""Reason for which pairs are dropped with --held-out-documents."""
BEYOND = "beyond the limit"
"""Reason for which pairs of a source with a limit are dropped."""


@dataclass
class SortedSource:
    """A source after the first pass."""

    listed: Input
    split: Split
    units: list[SortedUnit] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.listed.source.name

    @property
    def rows(self) -> int:
        return sum(unit.rows for unit in self.units)

    @property
    def kept(self) -> Kept:
        return Kept.of(self.rows, self.listed.source.limit)

    @property
    def runs(self) -> tuple[RunFile, ...]:
        return tuple(run.file for unit in self.units for run in unit.runs)

    @property
    def dropped(self) -> Counter[str]:
        return _total(unit.counts.dropped for unit in self.units)

    @property
    def pairs(self) -> str:
        """Digest of the pairs as they were read, duplicates included, of which of them are kept, and of the split."""
        checksum = sum(unit.checksum for unit in self.units) % 2**64
        return digest(checksum, self.rows, self.kept, asdict(self.split))

    def check(self) -> None:
        """Raises RunError if the source has no pair, or if more of its rows are none than may be."""
        dropped, files = self.dropped, self.listed.files
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(dropped.items()))
        total = dropped.total()
        lost = total - dropped[OTHERWISE.reason]
        if self.rows and (lost <= self.rows or self.listed.source.allow_drops):
            return
        if self.rows:
            raise RunError(
                f"source {self.name}: {lost:,} of {lost + self.rows:,} rows are no pairs of texts ({reasons}), the first "
                f"file is {files[0].uri}; look at them with --preview, and if they are to be left out, give --allow-drops"
            )
        read = f"none of {total:,} rows is a pair of texts ({reasons})" if total else "there are no rows"
        raise RunError(
            f"source {self.name}: {read} in {len(files):,} file(s), the first {files[0].uri}; allowed are rows of texts "
            "in columns of known names, or of those named as NAME=GLOB:TASK:QUERY_COLUMN,DOCUMENT_COLUMN"
        )

    def first_texts(self) -> list[str]:
        """The texts that a vocabulary is trained on: those that the finished source would give."""
        rows = first_pairs(self.runs, VOCABULARY_ROWS, self.kept, self.split)
        return vocabulary_texts(rows)

    def described(self, info: SourceInfo) -> SourceInfo:
        """`info` with what only the first pass knows."""
        later = Counter({reason: info.dropped.get(reason, 0) for reason in (SHARED, BEYOND)})
        dropped = self.dropped + later
        dropped["duplicate"] = self.rows - info.rows - info.held_out - later.total()
        counts = [unit.counts for unit in self.units]
        return replace(
            info,
            task=self.listed.source.task,
            read=self.rows + self.dropped.total(),
            dropped={reason: count for reason, count in sorted(dropped.items()) if count},
            reader="; ".join(sorted({layout for count in counts for layout in count.layouts})),
            input_fingerprint=self.listed.fingerprint,
            skipped_files=self.listed.skipped,
            unused=dict(_total(count.unused for count in counts)),
            lost_negatives=dict(_total(count.lost_negatives for count in counts)),
        )


def sort_sources(
    uri: str, inputs: Sequence[Input], split: Split, part: PartSize, report: Report
) -> list[SortedSource]:
    """First pass: sorts the pairs of all `inputs` into runs. Units that an earlier call finished stay."""
    sources = {listed.source.name: SortedSource(listed, split) for listed in inputs}
    jobs: list[SortJob] = []
    for listed in inputs:
        scratch = scratch_folder(uri, listed.source.name)
        units = cut(listed.files)
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
    return list(sources.values())


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
    for result in run_tasks(jobs, partial(merge_range, merges=merges)):
        merged = result.range
        report(f"sorting {result.source}", merged.part.rows + merged.held_out.rows)
        done[result.source][merged.index] = merged
        if len(done[result.source]) == merges[result.source].jobs:
            source = by_name[result.source]
            yield source, _info(source, merges[source.name], done[source.name])


def _merge(uri: str, source: SortedSource, part: PartSize, tokenization: Tokenization | None) -> Merge:
    identity = [source.pairs, *([asdict(tokenization.info)] if tokenization else [])]
    folder = f"{source.name}-{digest(*identity)[:8]}"
    parts = part.number(source.rows, sum(unit.bytes for unit in source.units))
    return Merge(
        uri,
        folder,
        source.runs,
        storage.join(scratch_folder(uri, source.name), f"{folder}-{parts}"),
        parts,
        source.split,
        source.kept,
        held_out_documents(source.runs, source.split, source.kept),
        tokenization,
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


def _total(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for some in counts:
        total.update(some)
    return total
