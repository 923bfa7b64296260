"""Glob patterns on any Arrow file system.

fsspec's `glob` over its Arrow wrapper falls short: `*` matches names that begin with a dot, a pattern cannot
name a folder with brackets in its name, and a cyclic link is followed forty times.
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
    """The files below `folder` that match `pattern`, as sorted paths relative to `folder`.

    Works like `glob.glob` with `recursive=True`: `*` and `**` match no name that begins with a dot, `**`
    matches any number of folders, `{` and `}` are literal. There are two differences. If a file or folder has
    exactly the name of the pattern, or of a part of it, that name is literal. A link to one of its own parent
    folders is not followed. Raises OSError if a folder cannot be listed, RunError if a name cannot be opened.
    """
    parts = [part for part in pattern.split("/") if part]
    parts = [part for part, before in zip(parts, ["", *parts], strict=False) if not part == before == "**"]
    tree = _Folders(filesystem)
    if not parts:
        return []
    if tree.kind(_below(folder, "/".join(parts))) == fs.FileType.File:
        return ["/".join(parts)]
    start = len(_below(folder, ""))
    paths = sorted({path[start:] for path in _files(tree, folder, parts)})
    for path in paths:
        if not _is_unicode(path):
            raise RunError(
                f"{_below(folder, path)!a}: a file whose name is not UTF-8 cannot be opened; give it another name"
            )
    return paths


class _Folders:
    """The contents of folders. Each folder is listed once and cached."""

    def __init__(self, filesystem: fs.FileSystem):
        self.filesystem = filesystem
        self.is_local = isinstance(filesystem, fs.LocalFileSystem)
        self._listed: dict[str, dict[str, bool]] = {}

    def kind(self, path: str) -> fs.FileType:
        return self.filesystem.get_file_info(path).type

    def exists(self, path: str) -> bool:
        return os.path.lexists(path) if self.is_local else self.kind(path) != fs.FileType.NotFound

    def names(self, folder: str) -> dict[str, bool]:
        """The names in `folder`, each with whether it is a folder. Empty if `folder` does not exist."""
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
                is_folder = info.type == fs.FileType.Directory
                self._listed.setdefault(parent, {})[name] = is_folder
                if is_folder and recursive:
                    self._listed.setdefault(info.path, {})


def _files(tree: _Folders, folder: str, parts: Sequence[str]) -> Iterator[str]:
    """Paths of the files below `folder` that match `parts`."""
    part, rest = parts[0], parts[1:]
    if part == "**":
        if not rest and tree.kind(folder) == fs.FileType.File:  # as Python's glob, which sees a file there
            yield folder
            return
        tree.read_ahead(folder)
        yield from _at_any_depth(tree, folder, rest, ())
        return
    for name in _chosen(tree, folder, part, inner=bool(rest)):
        if rest:
            yield from _files(tree, _below(folder, name), rest)
        elif tree.names(folder).get(name) is False:
            yield _below(folder, name)


def _chosen(tree: _Folders, folder: str, part: str, inner: bool) -> list[str]:
    """The names in `folder` that match one part of a pattern: folders for an `inner` part, else files."""
    if not any(character in part for character in MAGIC) or tree.exists(_below(folder, part)):
        return [part]
    hidden = part.startswith(".")
    return [
        name
        for name, is_folder in tree.names(folder).items()
        if is_folder == inner and fnmatchcase(name, part) and (hidden or not name.startswith("."))
    ]


def _at_any_depth(tree: _Folders, folder: str, rest: Sequence[str], above: tuple[str, ...]) -> Iterator[str]:
    """Paths of the files that match `rest` in `folder` or any folder below it. `above` holds its parents."""
    real = os.path.realpath(folder) if tree.is_local else folder
    if real in above:
        return  # a cyclic link
    if rest:
        yield from _files(tree, folder, rest)
    for name, is_folder in tree.names(folder).items():
        if name.startswith("."):
            continue
        if is_folder:
            yield from _at_any_depth(tree, _below(folder, name), rest, (*above, real))
        elif not rest:
            yield _below(folder, name)


def _local_names(folder: str) -> dict[str, bool]:
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    entries = {name: _is_folder(_below(folder, name)) for name in names}
    return {name: is_folder for name, is_folder in entries.items() if is_folder is not None}


def _is_folder(path: str) -> bool | None:
    """Whether `path` is a folder. None if it is neither folder nor file, such as a pipe."""
    try:
        mode = os.stat(path).st_mode
    except PermissionError:
        raise
    except OSError:
        return False  # a dangling link: counts as a file, so that reading it reports the error
    return True if stat.S_ISDIR(mode) else False if stat.S_ISREG(mode) else None


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _below(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if folder else name
