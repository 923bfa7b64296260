"""What preparing a store is to do, found out before the work: its split, the input, the sources that stay."""

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from gte_ray.data.finished import finished_source, of_input
from gte_ray.data.hashing import digest
from gte_ray.data.sources import SourceSpec, check_file
from gte_ray.data.store import MANIFEST, Manifest, SourceInfo, open_store
from gte_ray.errors import UsageError
from gte_ray.runtime import storage

READING_VERSION = 3
"""Of what is read and written; a finished source of another version is done again."""
CHECKS_AT_ONCE = 16
"""Input files that are looked at together before the work: remote ones answer slowly."""
HELD_OUT_SHARE = 0.02
"""Of the queries of a new store, where nothing else is said."""


@dataclass(frozen=True)
class Split:
    """What shapes a store besides its pairs."""

    seed: int
    held_out_share: float

    def __post_init__(self) -> None:
        if not 0 <= self.held_out_share < 1:
            raise UsageError(
                f"--held-out is {self.held_out_share}; allowed is a share from 0 up to, not including, 1"
            )
        if not 0 <= self.seed < 2**64:
            raise UsageError(f"--seed is {self.seed}; allowed is a whole number from 0 to 2^64 - 1")


def choose_split(uri: str, seed: int | None, held_out_share: float | None) -> Split:
    """The split that is asked for; where nothing is, that of the store at `uri`, or the usual one."""
    manifest = _manifest(uri)
    if seed is None:
        seed = manifest.seed if manifest else 0
    if held_out_share is None:
        held_out_share = manifest.held_out_share if manifest else HELD_OUT_SHARE
    return Split(seed, held_out_share)


def _manifest(uri: str) -> Manifest | None:
    """That of a finished store, None where there is none."""
    return open_store(uri, check=False).manifest if storage.exists(storage.join(uri, MANIFEST)) else None


def staying_sources(
    uri: str, names: Collection[str], remove: Collection[str], split: Split
) -> list[SourceInfo]:
    """The sources of the store at `uri` that are neither prepared again, being among `names`, nor removed.

    UsageError where one of `remove` is not there, or where they were split otherwise.
    """
    manifest = _manifest(uri)
    infos = manifest.sources if manifest else ()
    known = [info.name for info in infos]
    kept = [info for info in infos if info.name not in names and info.name not in remove]
    if manifest and kept and (manifest.seed, manifest.held_out_share) != (split.seed, split.held_out_share):
        raise UsageError(
            f"{uri}: was prepared with --seed {manifest.seed} and --held-out {manifest.held_out_share:g}, and keeps "
            f"{', '.join(info.name for info in kept)}; give the same, or another store"
        )
    missing = [name for name in remove if name not in known]
    if missing:
        raise UsageError(
            f"--remove {missing[0]}: the store has no such source; it has {', '.join(known) or 'none'}"
        )
    return kept


@dataclass(frozen=True)
class Input:
    """The input of a source."""

    source: SourceSpec
    files: list[str]
    skipped: dict[str, int]
    """Files of other kinds that match the pattern, by the endings of their names."""
    fingerprint: str
    """Of the files and of all settings that shape the output."""
    finished: SourceInfo | None
    """What an earlier call made of just this; None where it is still to be done."""


def list_input(uri: str, source: SourceSpec, split: Split) -> Input:
    """The files of a source; those of one that is not finished are checked."""
    files, skipped = ([], {}) if source.stamp else source.listed()
    known_by = fingerprint(source, files, split)
    finished = finished_source(uri, source.name, of_input(known_by))
    if finished is None:
        files = files or source.files()
        with ThreadPoolExecutor(CHECKS_AT_ONCE) as pool:
            list(pool.map(partial(check_file, columns=source.columns), files))
    return Input(source, files, skipped, known_by, finished)


def fingerprint(source: SourceSpec, files: list[str], split: Split) -> str:
    """Of the files of a source and of all settings that shape the output."""
    identity: dict[str, Any] = asdict(source)
    if source.stamp:
        del identity["glob"]  # the stamp stands for the files, wherever they are
    return digest(READING_VERSION, identity, storage.stamps(files), asdict(split))
