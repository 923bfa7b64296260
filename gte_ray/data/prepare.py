"""Raw sources to a pair store: exact de-duplication, global shuffle and held-out split in one external sort.

A first pass over the input writes runs of pairs sorted by their hash; a second merges each range of hashes
from all runs into one part. Equal pairs meet in one range, so they are found, and ascending hash order is the
shuffle. Both passes are Ray Data over units of bounded size, so memory does not grow with the input. (Ray
Data's own hash repartition holds all rows in its aggregators until the last one has come.)

Nothing is visible before the manifest, which is written last; a finished source has a `source.json`, and is
not done again while its input stays as it is.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

from gte_ray import storage
from gte_ray.data.ids import Ids, Report, add_ids
from gte_ray.data.sort import SortedRun, digest, merge_range, sort_file
from gte_ray.data.sources import SourceSpec, check_file
from gte_ray.data.store import (
    MANIFEST,
    SOURCE_FILE,
    Manifest,
    Part,
    SourceInfo,
    Store,
    open_store,
    source_from_dict,
)
from gte_ray.data.tasks import run_tasks
from gte_ray.errors import UsageError

PART_ROWS = 131_072
"""Pairs of a part, on average: what a task of the second pass holds in memory."""
VERSION = 1
"""Of the bytes that preparing writes; a finished source of another version is done again."""


def prepare(
    uri: str,
    sources: Sequence[SourceSpec],
    *,
    seed: int = 0,
    held_out_share: float = 0.02,
    ids: Ids | None = None,
    report: Report = lambda phase, pairs: None,
) -> Store:
    """Prepares `sources` into the store at `uri`; those that are finished are not done again.

    With `ids` the store holds token ids too.

    Ray must be initialised. Raises UsageError for settings out of range, RunError for input that cannot be
    read, with the file's name; what was finished stays.
    """
    names = Counter(source.name for source in sources)
    twice = [name for name, count in names.items() if count > 1]
    if twice or not sources:
        raise UsageError(
            f"--source: {'name given twice: ' + twice[0] if twice else 'at least one is needed'}"
        )
    if not 0 <= held_out_share < 1:
        raise UsageError(f"--held-out is {held_out_share}; allowed is a share from 0 up to, not including, 1")
    inputs = {source.name: _list_input(source, seed, held_out_share) for source in sources}
    infos = []
    for source in sources:
        files, fingerprint = inputs[source.name]
        info = _finished(uri, source.name, fingerprint)
        infos.append(info or _prepare_source(uri, source, files, fingerprint, seed, held_out_share, report))
    manifest = Manifest(seed, held_out_share, tuple(infos))
    if ids is not None:
        manifest = add_ids(Store(uri, manifest), ids, report)
    _write_manifest(uri, manifest)
    return open_store(uri)


def _write_manifest(uri: str, manifest: Manifest) -> None:
    """Makes the store visible as `manifest` says, then deletes what no longer belongs to it."""
    storage.write_json(storage.join(uri, MANIFEST), manifest.to_dict())
    used = {part.path.split("/")[0] for source in manifest.sources for part in source.parts}
    used |= {manifest.tokenizer.folder} if manifest.tokenizer else set()
    known = {source.name for source in manifest.sources} | {"tokenizer"}
    for folder in storage.folders(uri):
        if folder not in used and folder.rsplit("-", 1)[0] in known:
            storage.delete(storage.join(uri, folder))


def _list_input(source: SourceSpec, seed: int, held_out_share: float) -> tuple[list[str], str]:
    """The files of a source, checked, and the fingerprint of all that shapes its part of the store."""
    files = source.files()
    for uri in files:
        check_file(uri, source.columns)
    facts = [VERSION, asdict(source), seed, held_out_share, storage.stamps(files)]
    return files, hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _finished(uri: str, name: str, fingerprint: str) -> SourceInfo | None:
    for folder in storage.folders(uri):
        record = storage.join(uri, folder, SOURCE_FILE)
        if folder.rsplit("-", 1)[0] == name and storage.exists(record):
            info = source_from_dict(storage.read_json(record))
            if info.input_fingerprint == fingerprint:
                return info
    return None


def _prepare_source(
    uri: str,
    source: SourceSpec,
    files: list[str],
    fingerprint: str,
    seed: int,
    held_out_share: float,
    report: Report,
) -> SourceInfo:
    scratch = storage.join(uri, f".sorting-{source.name}")
    storage.delete(scratch)
    sort = partial(sort_file, columns=source.columns, scratch=scratch, seed=seed)
    runs = []
    for run in run_tasks(files, sort):
        runs.append(SortedRun(**run))
        report(f"reading {source.name}", runs[-1].rows)
    rows = sum(run.rows for run in runs)
    checksum = sum(run.checksum for run in runs) % 2**64
    folder = f"{source.name}-{digest(checksum, rows, seed, held_out_share)[:8]}"
    storage.delete(storage.join(uri, folder))
    parts = max(1, -(-rows // PART_ROWS))
    paths = [run.path for run in runs if run.rows]
    merge = partial(
        merge_range, uri=uri, folder=folder, paths=paths, parts=parts, seed=seed, held_out=held_out_share
    )
    merged = []
    for part in run_tasks(list(range(parts)), merge):
        merged.append(part)
        report(f"sorting {source.name}", part["rows"] + part["held_out"])
    merged.sort(key=lambda part: part["index"])
    dropped = sum((Counter(run.dropped) for run in runs), Counter())
    dropped["duplicate"] = rows - sum(part["rows"] + part["held_out"] for part in merged)
    info = SourceInfo(
        name=source.name,
        task=source.task,
        rows=sum(part["rows"] for part in merged),
        held_out=sum(part["held_out"] for part in merged),
        read=rows + sum(run_dropped for run in runs for run_dropped in run.dropped.values()),
        dropped={reason: count for reason, count in sorted(dropped.items()) if count},
        reader=", ".join(sorted({run.layout for run in runs if run.layout})),
        input_fingerprint=fingerprint,
        content=digest(*(part["content"] for part in merged)),
        parts=tuple(Part(part["path"], part["rows"], part["bytes"]) for part in merged),
        held_out_parts=tuple(
            Part(part["held_out_path"], part["held_out"], part["held_out_bytes"]) for part in merged
        ),
    )
    storage.write_json(storage.join(uri, folder, SOURCE_FILE), asdict(info))
    storage.delete(scratch)
    return info
