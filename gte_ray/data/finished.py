"""What earlier calls of prepare left in a store: finished sources to reuse, obsolete folders to delete."""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from functools import cached_property

from gte_ray.config.typed import read
from gte_ray.data.manifest import MANIFEST, SOURCE_FILE, Manifest, SourceInfo
from gte_ray.runtime import storage


def of_input(fingerprint: str) -> Callable[[SourceInfo], bool]:
    """Returns a predicate: whether a source was made from exactly this input and these settings."""
    return lambda info: info.input_fingerprint == fingerprint


def of_pairs(pairs: str) -> Callable[[SourceInfo], bool]:
    """Returns a predicate: whether a source was made from the pairs with this digest, in whatever files."""
    return lambda info: info.input_pairs == pairs


_DIGEST = re.compile(r"[0-9a-f]{8,}")
"""What the names of a store's own folders end with; others are not the store's."""


class FinishedSources:
    """The complete sources in a store's folders, which are listed once: a store may have a thousand."""

    def __init__(self, uri: str):
        self.uri = uri
        self.folders: defaultdict[str, list[str]] = defaultdict(list)
        """Folders by the source that they are named after."""
        for folder in storage.folders(uri):
            self.folders[folder.rsplit("-", 1)[0]].append(folder)

    @cached_property
    def named(self) -> set[str]:
        return _named_folders(self.uri)

    def source(self, name: str, wanted: Callable[[SourceInfo], bool]) -> SourceInfo | None:
        """One that satisfies `wanted`, preferably one that the manifest names; None if there is none."""
        records = (_record(self.uri, folder) for folder in self.folders.get(name, []))
        found = [info for info in records if info is not None and wanted(info) and _is_whole(self.uri, info)]
        return min(found, key=lambda info: info.folder not in self.named, default=None)

    def group(self, name: str, wanted: Callable[[SourceInfo], bool]) -> tuple[SourceInfo, ...]:
        """Those that `name` was split into, all of one call that satisfies `wanted`; empty if one is missing."""
        parts = sorted(part for part in self.folders if part.startswith(f"{name}."))
        found = (self.source(part, lambda info: info.split_of == name and wanted(info)) for part in parts)
        infos = tuple(info for info in found if info is not None)
        return infos if infos and len(infos) == infos[0].siblings else ()


def finished_with(
    uri: str, fingerprints: Mapping[str, str], tell: Callable[[str], None]
) -> dict[str, SourceInfo | None]:
    """Returns the sources that the store at `uri` has with these fingerprints, by name; None for those to be made.

    Of those that it has with others it tells that they are made again.
    """
    earlier = FinishedSources(uri)
    done = {name: earlier.source(name, of_input(fingerprint)) for name, fingerprint in fingerprints.items()}
    before = {folder.rsplit("-", 1)[0] for folder in earlier.named}
    again = [name for name, info in done.items() if info is None and name in before]
    if again:
        tell(f"{uri} has {', '.join(again)} with other settings or of other pairs: written again")
    return done


def delete_folder(uri: str, folder: str) -> None:
    """Deletes a source's folder, its record first, so that a partly deleted source never looks finished."""
    storage.delete(storage.join(uri, folder, SOURCE_FILE))
    storage.delete(storage.join(uri, folder))


def write_manifest(uri: str, manifest: Manifest, removed: Collection[str] = ()) -> None:
    """Writes the manifest, which makes the store visible, then deletes obsolete folders.

    These are unused folders of tokenizers, of the manifest's sources, of those that it had before, and of `removed` ones.
    """
    before = {folder.rsplit("-", 1)[0] for folder in _named_folders(uri)}
    storage.write_json(storage.join(uri, MANIFEST), manifest.to_dict())
    used = {source.folder for source in manifest.sources}
    used |= {source.tokenizer.folder for source in manifest.sources if source.tokenizer}
    names = {source.name for source in manifest.sources} | {"tokenizer", *removed} | before
    for folder in storage.folders(uri):
        name, _, digest = folder.rpartition("-")
        if folder not in used and name in names and _DIGEST.fullmatch(digest):
            delete_folder(uri, folder)


def _record(uri: str, folder: str) -> SourceInfo | None:
    path = storage.join(uri, folder, SOURCE_FILE)
    if not storage.exists(path):
        return None
    try:
        return read(SourceInfo, storage.read_json(path))
    except ValueError:
        return None  # written by another version: the source is prepared again


def _is_whole(uri: str, info: SourceInfo) -> bool:
    sizes = storage.sizes(storage.join(uri, info.folder))
    parts = (*info.parts, *info.held_out_parts)
    return all(sizes.get(storage.name(part.path)) == part.bytes for part in parts)


def _named_folders(uri: str) -> set[str]:
    path = storage.join(uri, MANIFEST)
    try:
        sources = storage.read_json(path)["sources"] if storage.exists(path) else []
        return {read(SourceInfo, source).folder for source in sources}
    except (ValueError, TypeError, KeyError):
        return set()
