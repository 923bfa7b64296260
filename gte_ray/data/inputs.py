"""What preparing a store will do, determined beforehand: its split, its input, the sources that stay."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any

from gte_ray.data.finished import FinishedSources, of_input
from gte_ray.data.hashing import digest
from gte_ray.data.manifest import MANIFEST, Manifest, SourceInfo
from gte_ray.data.split import Split
from gte_ray.data.store import open_store
from gte_ray.data.units import Unit
from gte_ray.errors import UsageError
from gte_ray.readers.dataset_folder import WHOLE
from gte_ray.readers.reading import Reading
from gte_ray.readers.spec import SourceSpec, check_file
from gte_ray.runtime import storage
from gte_ray.runtime.storage import FileStamp
from gte_ray.runtime.uri import without_password

READING_VERSION = 7
"""Version of the reading and writing code. A source finished by another version is prepared again."""
NONE = "none"
"""What is told in place of a setting that is not given."""
CHECKS_AT_ONCE = 16
"""Input files checked concurrently before the work, because remote storage is slow to respond."""
CHECKED_FILES = 1_000
"""Most files of a source that are checked before the work. What is wrong with others, their task tells."""


def choose_split(uri: str, **given: Any) -> Split:
    """The split with the `given` fields. None means that of the store at `uri`, or the default for a new one."""
    manifest = _manifest(uri)
    split = manifest.split if manifest else Split()
    return replace(split, **{name: value for name, value in given.items() if value is not None})


def _manifest(uri: str) -> Manifest | None:
    """The manifest of a finished store, or None."""
    return open_store(uri, check=False).manifest if storage.exists(storage.join(uri, MANIFEST)) else None


def staying_sources(
    uri: str, names: Collection[str], remove: Collection[str], split: Split
) -> list[SourceInfo]:
    """The sources of the store at `uri` that stay as they are.

    These are neither in `names`, which are prepared again, nor in `remove`. Raises UsageError if a source in
    `remove` is missing, or if the sources that stay have another split.
    """
    manifest = _manifest(uri)
    infos = manifest.sources if manifest else ()
    existing = {name for info in infos for name in (info.name, info.split_of) if name}
    kept = [info for info in infos if not {info.name, info.split_of} & {*names, *remove}]
    if manifest and kept and manifest.split != split:
        raise UsageError(
            f"{uri}: was prepared with {manifest.split.flags()}, and keeps "
            f"{', '.join(info.name for info in kept)}; give the same, or another store"
        )
    missing = [name for name in remove if name not in existing]
    if missing:
        raise UsageError(
            f"--remove {missing[0]}: the store has no such source; it has {', '.join(sorted(existing)) or 'none'}"
        )
    return kept


@dataclass(frozen=True)
class Input:
    """The input of a source, and the result if it is finished."""

    source: SourceSpec
    files: list[FileStamp]
    skipped: dict[str, int]
    """Number of files of other formats that match the pattern, by file name suffix."""
    fingerprint: str
    """Identifies the files and all settings that shape the output."""
    finished: tuple[SourceInfo, ...]
    """The source, or those that it is split into, as an earlier call prepared them from the same input; or none."""
    joined: list[list[FileStamp]] = field(default_factory=list)
    """The files of each join."""
    settings: dict[str, Any] = field(default_factory=dict)
    """See `SourceInfo.settings`."""


def list_input(earlier: FinishedSources, source: SourceSpec, split: Split) -> Input:
    """Lists the files of a source, and checks them unless the source is finished."""
    files, skipped = ([], {}) if source.stamp else source.files()
    joined = source.joined_files()
    input_fingerprint = fingerprint(source, [*files, *chain(*joined)], split)
    wanted = of_input(input_fingerprint)
    if source.reading.split_by:
        finished = earlier.group(source.name, wanted)
    else:
        whole = earlier.source(source.name, wanted)
        finished = () if whole is None else (whole,)
    if not finished:
        files = files or source.files()[0]
        _check(files, source.key_readings[0] if source.joins else source.reading)
        for join, others in zip(source.joins, joined, strict=True):
            _check(others, join.other_rows)
    settings = {**_settings(source), **split.identity, "files": digest([*files, *chain(*joined)])}
    return Input(source, files, skipped, input_fingerprint, finished, joined, settings)


def _check(files: Sequence[FileStamp], reading: Reading) -> None:
    checked = [file.uri for file in files[:: -(-len(files) // CHECKED_FILES)]]
    with ThreadPoolExecutor(CHECKS_AT_ONCE) as pool:
        list(pool.map(partial(check_file, reading=reading), checked))


def fingerprint(source: SourceSpec, files: list[FileStamp], split: Split) -> str:
    """Identifies the files of a source and all settings that shape the output."""
    return digest(READING_VERSION, _identity(source), files, split.identity)


def _identity(source: SourceSpec) -> dict[str, Any]:
    """The settings of a source that shape the output."""
    identity: dict[str, Any] = asdict(source) | {"reading": source.reading.given}
    del identity["allow_drops"]  # it says what may be, not what is read
    if source.chosen == WHOLE:
        del identity["chosen"]
    if source.joins:
        identity["joins"] = [join.identity for join in source.joins]
    else:
        del identity["joins"]
    if source.stamp:
        del identity["glob"]  # the stamp identifies the files, wherever they are
    return identity


def _settings(source: SourceSpec) -> dict[str, Any]:
    """The same, of what is set, without its name and passwords, in one level, as JSON has them."""
    identity = _identity(source)
    del identity["name"]
    reading = identity.pop("reading")
    given = {name: value for name, value in (reading | identity).items() if value}
    plain: dict[str, Any] = json.loads(without_password(json.dumps(given)))
    return plain


def prepared_again(uri: str, inputs: Sequence[Input], tell: Callable[[str], None]) -> None:
    """Tells of each source that the store at `uri` has, but of other files or with other settings, what changed."""
    manifest = _manifest(uri)
    known = {info.split_of or info.name: info for info in manifest.sources} if manifest else {}
    for listed in inputs:
        name = listed.source.name
        if not listed.finished and name in known:
            tell(f"{name} is prepared again: {_changes(known[name].settings, listed.settings)}")


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    if not old or old == new:
        return "it was mined, filtered or prepared by another version, or a part of it is missing"
    changed = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    if "benchmarks" in changed:  # whose names are digests
        return "other benchmarks are kept out of it"
    values = [
        f"{name} {old.get(name, NONE)!r} -> {new.get(name, NONE)!r}" for name in changed if name != "files"
    ]
    return ", ".join(values) or "its files changed"


def unit_keys(listed: Input, units: Sequence[Unit], split: Split) -> list[str]:
    """Identifies the input of each unit, and all settings that shape its sorted runs."""
    source = listed.source
    stamps = {file.uri: file[1:] for file in listed.files}
    return [
        digest(
            READING_VERSION,
            source.reading.given,
            source.limit,
            split.identity,
            [(asdict(piece), source.stamp or stamps[piece.uri]) for piece in unit],
        )
        for unit in units
    ]
