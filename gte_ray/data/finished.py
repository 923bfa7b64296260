"""What earlier calls of prepare left in a store: finished sources, and what no longer belongs there."""

from collections.abc import Callable, Collection

from gte_ray.data.store import MANIFEST, SOURCE_FILE, Manifest, SourceInfo, source_from_dict
from gte_ray.runtime import storage


def of_input(fingerprint: str) -> Callable[[SourceInfo], bool]:
    """Tells a source that was made of just this input and these settings."""
    return lambda info: info.input_fingerprint == fingerprint


def finished_source(uri: str, name: str, wanted: Callable[[SourceInfo], bool]) -> SourceInfo | None:
    """A whole source that is `wanted`; one that the manifest names comes first. None where there is none."""
    found = []
    for folder in storage.folders(uri):
        if folder.rsplit("-", 1)[0] == name:
            info = _record(uri, folder)
            if info is not None and wanted(info) and _is_whole(uri, info):
                found.append(info)
    named = _named_folders(uri)
    return min(found, key=lambda info: info.folder not in named, default=None)


def delete_folder(uri: str, folder: str) -> None:
    """Deletes the folder of a source, its record first: half of one is never taken for a finished one."""
    storage.delete(storage.join(uri, folder, SOURCE_FILE))
    storage.delete(storage.join(uri, folder))


def write_manifest(uri: str, manifest: Manifest, removed: Collection[str] = ()) -> None:
    """Makes the store visible as `manifest` says, then deletes what no longer belongs to it."""
    storage.write_json(storage.join(uri, MANIFEST), manifest.to_dict())
    used = {source.folder for source in manifest.sources}
    used |= {manifest.tokenizer.folder} if manifest.tokenizer else set()
    known = {source.name for source in manifest.sources} | {"tokenizer", *removed}
    for folder in storage.folders(uri):
        if folder not in used and folder.rsplit("-", 1)[0] in known:
            delete_folder(uri, folder)


def _record(uri: str, folder: str) -> SourceInfo | None:
    path = storage.join(uri, folder, SOURCE_FILE)
    if not storage.exists(path):
        return None
    try:
        return source_from_dict(storage.read_json(path))
    except (ValueError, TypeError, KeyError):
        return None  # of another version: the source is prepared again


def _is_whole(uri: str, info: SourceInfo) -> bool:
    parts = (*info.parts, *info.held_out_parts)
    found = storage.stamps([storage.join(uri, part.path) for part in parts])
    return [size for _, size, _ in found] == [part.bytes for part in parts]


def _named_folders(uri: str) -> set[str]:
    path = storage.join(uri, MANIFEST)
    try:
        sources = storage.read_json(path)["sources"] if storage.exists(path) else []
        return {source_from_dict(source).folder for source in sources}
    except (ValueError, TypeError, KeyError):
        return set()
