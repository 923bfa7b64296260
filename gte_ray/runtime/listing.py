"""Glob patterns on any Arrow file system.

fsspec's `glob` over its Arrow wrapper falls short: `*` matches names that begin with a dot, a pattern cannot
name a folder with brackets in its name, and a cyclic link is followed forty times.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import NamedTuple

from pyarrow import fs

from gte_ray.errors import RunError

MAGIC = "*?["


class Entry(NamedTuple):
    """What a listing tells of a file or folder."""

    is_folder: bool
    size: int
    """Bytes."""
    mtime_ns: int
    """Time of the last change, in nanoseconds; 0 if it is not known."""


def matches(filesystem: fs.FileSystem, folder: str, pattern: str) -> dict[str, Entry]:
    """The files below `folder` that match `pattern`, by their sorted paths relative to `folder`.

    Works like `glob.glob` with `recursive=True`: `*` and `**` match no name that begins with a dot, `**`
    matches any number of folders, `{` and `}` are literal. There are two differences. If a file or folder has
    exactly the name of the pattern, or of a part of it, that name is literal. A link to one of its own parent
    folders is not followed. Raises OSError if a folder cannot be listed, RunError if a name cannot be opened.
    """
    parts = [part for part in pattern.split("/") if part]
    parts = [part for part, before in zip(parts, ["", *parts], strict=False) if not part == before == "**"]
    tree = _Folders(filesystem)
    if not parts:
        return {}
    literal = filesystem.get_file_info(_below(folder, "/".join(parts)))
    if literal.type == fs.FileType.File:
        return {"/".join(parts): _entry(literal)}
    start = len(_below(folder, ""))
    files = {path[start:]: entry for path, entry in _files(tree, folder, parts)}
    for path in sorted(files):
        if not _is_unicode(path):
            raise RunError(
                f"{_below(folder, path)!a}: a file whose name is not UTF-8 cannot be opened; give it another name"
            )
    return dict(sorted(files.items()))


def _entry(info: fs.FileInfo) -> Entry:
    return Entry(info.type == fs.FileType.Directory, info.size or 0, info.mtime_ns or 0)


class _Folders:
    """The contents of folders. Each folder is listed once and cached."""

    def __init__(self, filesystem: fs.FileSystem):
        self.filesystem = filesystem
        self.is_local = isinstance(filesystem, fs.LocalFileSystem)
        self._listed: dict[str, dict[str, Entry]] = {}

    def info(self, path: str) -> fs.FileInfo:
        return self.filesystem.get_file_info(path)

    def exists(self, path: str) -> bool:
        return os.path.lexists(path) if self.is_local else self.info(path).type != fs.FileType.NotFound

    def names(self, folder: str) -> dict[str, Entry]:
        """The names in `folder` and what they are. Empty if `folder` does not exist."""
        if folder.endswith("/") and folder != "/":
            raise RunError(f"{folder}: holds objects with // in their keys, which cannot be opened")
        if folder not in self._listed:
            self._listed[folder] = {}
            if self.is_local:
                self._listed[folder] = _local_names(folder)
            else:
                self._list(folder, recursive=False)
        return self._listed[folder]

    def read_ahead(self, folder: str) -> None:
        """Lists everything below `folder`, in one call on object stores. Does nothing for local folders."""
        if not self.is_local and folder not in self._listed:
            self._listed[folder] = {}
            self._list(folder, recursive=True)

    def _list(self, folder: str, recursive: bool) -> None:
        selector = fs.FileSelector(folder, recursive=recursive, allow_not_found=True)
        infos: list[fs.FileInfo] = []
        with suppress(NotADirectoryError):  # `folder` is a file, which `allow_not_found` does not cover
            infos = self.filesystem.get_file_info(selector)
        for info in infos:
            if info.type in (fs.FileType.File, fs.FileType.Directory):
                parent, _, name = info.path.rpartition("/")
                self._listed.setdefault(parent, {})[name] = _entry(info)
                if info.type == fs.FileType.Directory and recursive:
                    self._listed.setdefault(info.path, {})


def _files(tree: _Folders, folder: str, parts: Sequence[str]) -> Iterator[tuple[str, Entry]]:
    """The files below `folder` that match `parts`."""
    part, rest = parts[0], parts[1:]
    if part == "**":
        info = tree.info(folder)
        if not rest and info.type == fs.FileType.File:  # as Python's glob, which sees a file there
            yield folder, _entry(info)
            return
        tree.read_ahead(folder)
        yield from _at_any_depth(tree, folder, rest, ())
        return
    for name in _chosen(tree, folder, part, inner=bool(rest)):
        if rest:
            yield from _files(tree, _below(folder, name), rest)
        elif (entry := tree.names(folder).get(name)) and not entry.is_folder:
            yield _below(folder, name), entry


def _chosen(tree: _Folders, folder: str, part: str, inner: bool) -> list[str]:
    """The names in `folder` that match one part of a pattern: folders for an `inner` part, else files."""
    if not any(character in part for character in MAGIC) or tree.exists(_below(folder, part)):
        return [part]
    hidden = part.startswith(".")
    return [
        name
        for name, entry in tree.names(folder).items()
        if entry.is_folder == inner and fnmatchcase(name, part) and (hidden or not name.startswith("."))
    ]


def _at_any_depth(
    tree: _Folders, folder: str, rest: Sequence[str], above: tuple[str, ...]
) -> Iterator[tuple[str, Entry]]:
    """The files that match `rest` in `folder` or any folder below it. `above` holds its parents."""
    real = os.path.realpath(folder) if tree.is_local else folder
    if real in above:
        return  # a cyclic link
    if rest:
        yield from _files(tree, folder, rest)
    for name, entry in tree.names(folder).items():
        if name.startswith("."):
            continue
        if entry.is_folder:
            yield from _at_any_depth(tree, _below(folder, name), rest, (*above, real))
        elif not rest:
            yield _below(folder, name), entry


def _local_names(folder: str) -> dict[str, Entry]:
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    entries = {name: _local_entry(_below(folder, name)) for name in names}
    return {name: entry for name, entry in entries.items() if entry is not None}


def _local_entry(path: str) -> Entry | None:
    """What is at `path`. None if it is neither folder nor file, such as a pipe."""
    try:
        status = os.stat(path)
    except PermissionError:
        raise
    except OSError:
        return Entry(False, 0, 0)  # a dangling link: counts as a file, so that reading it reports the error
    if not (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)):
        return None
    return Entry(stat.S_ISDIR(status.st_mode), status.st_size, status.st_mtime_ns)


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _below(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if folder else name
