"""Raw sources to a pair store: exact de-duplication, global shuffle and held-out split in one external sort.

A first pass over the input writes runs of pairs sorted by their hash; a second merges each range of hashes
from all runs into one part. Equal pairs meet in one range, so they are found, and ascending hash order is the
shuffle. Both passes are Ray Data over units of bounded size, so memory does not grow with the input. (Ray
Data's own hash repartition holds all rows in its aggregators until the last one has come.)

Nothing is visible before the manifest, which is written last; a finished source has a `source.json`, and is
not done again while its input stays as it is. Folders that the manifest names are never written to while it
names them: changed pairs go to a folder of another name, and the old one is deleted after the new manifest.
"""

import dataclasses
import errno
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial

from gte_ray.data.finished import delete_folder, finished_source, of_input, write_manifest
from gte_ray.data.hashing import digest
from gte_ray.data.ids import Ids, Report, add_ids
from gte_ray.data.inputs import Input, Split, choose_split, fingerprint, list_input, staying_sources
from gte_ray.data.sort import Merge, MergedRange, SortedRun, merge_range, sort_file
from gte_ray.data.sources import SourceSpec
from gte_ray.data.store import SOURCE_FILE, Manifest, SourceInfo, Store, open_store
from gte_ray.errors import RunError, UsageError
from gte_ray.runtime import storage
from gte_ray.runtime.pool import run_tasks

PART_ROWS = 131_072
"""Most pairs of a part, on average: what a task of the second pass holds in memory."""
PART_BYTES = 2**29
"""The same in bytes, which counts where pairs have many negatives."""


def prepare(
    uri: str,
    sources: Sequence[SourceSpec],
    *,
    seed: int | None = None,
    held_out_share: float | None = None,
    ids: Ids | None = None,
    remove: Sequence[str] = (),
    report: Report = lambda phase, pairs: None,
) -> Store:
    """Prepares `sources` into the store at `uri`; those that are finished are not done again.

    `seed` and `held_out_share` are those of the store where they are None, 0 and HELD_OUT_SHARE for a new one.
    Other sources that the store has stay in it, but for those that `remove` names. With `ids` the store holds
    token ids too; without, a source that is added gets ids by the tokenizer that the others have.

    Ray must be initialised. Raises UsageError for settings out of range, RunError for input that cannot be
    read, with the file's name, for a source without a pair, and for a full disk; what was finished stays.
    """
    names = Counter(source.name for source in sources)
    twice = [name for name, count in names.items() if count > 1]
    if twice or not (sources or remove):
        raise UsageError(
            f"--source: {'name given twice: ' + twice[0] if twice else 'at least one is needed'}"
        )
    storage.check_reachable(uri)
    split = choose_split(uri, seed, held_out_share)
    staying_sources(uri, names, remove, split)  # what cannot be is told before the work
    with _full_disk_in_one_sentence(uri):
        # All input is looked at before the first source is begun.
        inputs = [list_input(uri, source, split) for source in sources]
        infos = [listed.finished or _prepare_source(uri, listed, split, report) for listed in inputs]
        staying = staying_sources(uri, names, remove, split)
        manifest = Manifest(split.seed, split.held_out_share, (*staying, *infos))
        known = {info.tokenizer for info in staying if info.tokenizer}
        if ids is None and known and any(info.tokenizer is None for info in infos):
            ids = Ids(stored=known.pop())
        if ids is not None:
            manifest = add_ids(Store(uri, manifest), ids, report)
        write_manifest(uri, manifest, remove)
    return open_store(uri)


def unfinished(uri: str, sources: Sequence[SourceSpec], seed: int, held_out_share: float) -> list[SourceSpec]:
    """Those of `sources`, all with stamps, that an earlier call of prepare did not finish."""
    split = Split(seed, held_out_share)
    return [
        source
        for source in sources
        if finished_source(uri, source.name, of_input(fingerprint(source, [], split))) is None
    ]


@contextmanager
def _full_disk_in_one_sentence(uri: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RunError(
            f"{uri}: no space is left on the device; finished sources are kept, and the same command goes on"
        ) from error


def _prepare_source(uri: str, listed: Input, split: Split, report: Report) -> SourceInfo:
    scratch = storage.join(uri, f".sorting-{listed.source.name}")
    storage.delete(scratch)
    try:
        info = _sort(uri, listed, scratch, split, report)
    finally:
        storage.delete(scratch)  # also when the disk is full: this may be what fills it
    storage.write_json(storage.join(uri, info.folder, SOURCE_FILE), asdict(info))
    return info


def _sort(uri: str, listed: Input, scratch: str, split: Split, report: Report) -> SourceInfo:
    """Both passes over a source."""
    source = listed.source
    runs: list[SortedRun] = []
    task = partial(sort_file, columns=source.columns, scratch=scratch, seed=split.seed)
    for run in run_tasks(listed.files, task):
        runs.append(run)
        report(f"reading {source.name}", run.rows)
    rows = sum(run.rows for run in runs)
    dropped = _total(run.dropped for run in runs)
    if rows == 0:
        raise RunError(_no_pairs(listed, dropped))
    pairs = digest(sum(run.checksum for run in runs) % 2**64, rows, asdict(split))
    # Files may change in time and name and hold the same pairs.
    info = finished_source(uri, source.name, lambda info: info.input_pairs == pairs)
    if info is None:
        info = _merge(uri, source, runs, pairs, split, report)
    read = rows + dropped.total()
    dropped["duplicate"] = rows - info.rows - info.held_out
    return dataclasses.replace(
        info,
        task=source.task,
        read=read,
        dropped={reason: count for reason, count in sorted(dropped.items()) if count},
        reader="; ".join(sorted({layout for run in runs for layout in run.layout.split("; ") if layout})),
        input_fingerprint=listed.fingerprint,
        skipped_files=listed.skipped,
        unused=dict(_total(run.unused for run in runs)),
        lost_negatives=dict(_total(run.lost_negatives for run in runs)),
    )


def _total(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for some in counts:
        total.update(some)
    return total


def _no_pairs(listed: Input, dropped: Counter[str]) -> str:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(dropped.items()))
    read = (
        f"none of {dropped.total():,} rows is a pair of texts ({reasons})" if dropped else "there are no rows"
    )
    return (
        f"source {listed.source.name}: {read} in {len(listed.files):,} file(s), the first {listed.files[0]}; allowed are "
        "rows of texts in columns of known names, or of those named as NAME=GLOB:TASK:QUERY_COLUMN,DOCUMENT_COLUMN"
    )


def _merge(
    uri: str, source: SourceSpec, runs: list[SortedRun], pairs: str, split: Split, report: Report
) -> SourceInfo:
    """The second pass: `rows` pairs in sorted runs to the parts of a source."""
    rows = sum(run.rows for run in runs)
    folder = f"{source.name}-{pairs[:8]}"
    delete_folder(uri, folder)
    parts = max(1, -(-rows // PART_ROWS), -(-sum(run.bytes for run in runs) // PART_BYTES))
    paths = tuple(run.path for run in runs if run.rows)
    merge = Merge(uri, folder, paths, parts, split.seed, split.held_out_share)
    merged: list[MergedRange] = []
    for done in run_tasks(range(parts), partial(merge_range, merge=merge)):
        merged.append(done)
        report(f"sorting {source.name}", done.part.rows + done.held_out.rows)
    merged.sort(key=lambda done: done.index)
    return SourceInfo(
        name=source.name,
        task=source.task,
        rows=sum(done.part.rows for done in merged),
        held_out=sum(done.held_out.rows for done in merged),
        negatives=sum(done.negatives for done in merged),
        read=rows,
        dropped={},
        reader="",
        input_fingerprint="",
        # With the numbers of rows on both sides of the split, which tell which side a pair is on.
        content=digest(*((done.content, done.part.rows, done.held_out.rows) for done in merged)),
        parts=tuple(done.part for done in merged),
        held_out_parts=tuple(done.held_out for done in merged),
        input_pairs=pairs,
    )
