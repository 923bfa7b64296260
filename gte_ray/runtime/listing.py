"""The files that a pattern matches, on any file system of Arrow's.

fsspec's `glob` over its Arrow wrapper serves worse: `*` matches names that begin with a dot, a folder with
brackets in its name cannot be named, and a link that goes round is followed forty times.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase

from pyarrow import fs

from gte_ray.errors import RunError

MAGIC = "*?["


def matches(filesystem: fs.FileSystem, folder: str, pattern: str) -> list[str]:
    """Paths below `folder`, relative to it, of the files that match, sorted.

    As `glob.glob` with `recursive=True`: `*` and `**` match no name that begins with a dot, `**` is any number
    of folders, `{` and `}` stand for themselves. In two things not: what is there by the very name of the
    pattern, or of a part of it, is meant whatever characters are in it; and a link to a folder that it is in is
    not followed. Raises OSError for a folder that cannot be listed, RunError for a name that cannot be opened.
    """
    parts = [part for part in pattern.split("/") if part]
    parts = [part for part, before in zip(parts, ["", *parts], strict=False) if not part == before == "**"]
    found = _Folders(filesystem)
    if not parts:
        return []
    if found.kind(_below(folder, "/".join(parts))) == fs.FileType.File:
        return ["/".join(parts)]
    start = len(_below(folder, ""))
    paths = sorted({path[start:] for path in _files(found, folder, parts)})
    for path in paths:
        if not _is_unicode(path):
            raise RunError(
                f"{_below(folder, path)!a}: a file whose name is not UTF-8 cannot be opened; give it another name"
            )
    return paths


class _Folders:
    """What is in folders, each of which is listed once."""

    def __init__(self, filesystem: fs.FileSystem):
        self.filesystem = filesystem
        self.is_local = isinstance(filesystem, fs.LocalFileSystem)
        self._known: dict[str, dict[str, bool]] = {}

    def kind(self, path: str) -> fs.FileType:
        return self.filesystem.get_file_info(path).type

    def is_there(self, path: str) -> bool:
        return os.path.lexists(path) if self.is_local else self.kind(path) != fs.FileType.NotFound

    def names(self, folder: str) -> dict[str, bool]:
        """The names in `folder`, and whether each is a folder's; empty where there is no such folder."""
        if folder.endswith("/") and folder != "/":
            raise RunError(f"{folder}: holds objects with // in their keys, which cannot be opened")
        if folder not in self._known:
            self._known[folder] = {}
            if self.is_local:
                self._known[folder] = _local_names(folder)
            else:
                self._list(folder, recursive=False)
        return self._known[folder]

    def read_ahead(self, folder: str) -> None:
        """Lists all that is below `folder` too: object stores do that in one call."""
        if not self.is_local and folder not in self._known:
            self._known[folder] = {}
            self._list(folder, recursive=True)

    def _list(self, folder: str, recursive: bool) -> None:
        selector = fs.FileSelector(folder, recursive=recursive, allow_not_found=True)
        found: list[fs.FileInfo] = []
        with suppress(NotADirectoryError):  # of a file, where it is not what `allow_not_found` allows
            found = self.filesystem.get_file_info(selector)
        for info in found:
            if info.type in (fs.FileType.File, fs.FileType.Directory):
                parent, _, name = info.path.rpartition("/")
                is_folder = info.type == fs.FileType.Directory
                self._known.setdefault(parent, {})[name] = is_folder
                if is_folder and recursive:
                    self._known.setdefault(info.path, {})


def _files(found: _Folders, folder: str, parts: Sequence[str]) -> Iterator[str]:
    """Paths of the files in `folder` that match `parts`."""
    part, rest = parts[0], parts[1:]
    if part == "**":
        found.read_ahead(folder)
        yield from _at_any_depth(found, folder, rest, ())
        return
    for name in _chosen(found, folder, part, inner=bool(rest)):
        if rest:
            yield from _files(found, _below(folder, name), rest)
        elif found.names(folder).get(name) is False:
            yield _below(folder, name)


def _chosen(found: _Folders, folder: str, part: str, inner: bool) -> list[str]:
    """The names in `folder` that one part of a pattern means: of folders where it is an `inner` part, else of files."""
    if not any(character in part for character in MAGIC) or found.is_there(_below(folder, part)):
        return [part]
    hidden = part.startswith(".")
    return [
        name
        for name, is_folder in found.names(folder).items()
        if is_folder == inner and fnmatchcase(name, part) and (hidden or not name.startswith("."))
    ]


def _at_any_depth(found: _Folders, folder: str, rest: Sequence[str], above: tuple[str, ...]) -> Iterator[str]:
    """Paths of the files that match `rest` in `folder` and in all folders below; `above` are those it is in."""
    real = os.path.realpath(folder) if found.is_local else folder
    if real in above:
        return  # a link that goes round
    if rest:
        yield from _files(found, folder, rest)
    for name, is_folder in found.names(folder).items():
        if name.startswith("."):
            continue
        if is_folder:
            yield from _at_any_depth(found, _below(folder, name), rest, (*above, real))
        elif not rest:
            yield _below(folder, name)


def _local_names(folder: str) -> dict[str, bool]:
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    kinds = {name: _is_folder(_below(folder, name)) for name in names}
    return {name: is_folder for name, is_folder in kinds.items() if is_folder is not None}


def _is_folder(path: str) -> bool | None:
    """None for what is neither folder nor file, such as a pipe."""
    try:
        mode = os.stat(path).st_mode
    except PermissionError:
        raise
    except OSError:
        return False  # a link that leads nowhere: a file, so that whoever reads it is told
    return True if stat.S_ISDIR(mode) else False if stat.S_ISREG(mode) else None


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _below(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if folder else name
