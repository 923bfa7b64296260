"""Files at a local path or a URI (s3://, gs://, ...), through pyarrow.fs."""

import errno
import io
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import unquote

from pyarrow import fs

from gte_ray.errors import RunError
from gte_ray.runtime import listing
from gte_ray.runtime.filesystems import check_reachable as check_reachable
from gte_ray.runtime.filesystems import resolve as resolve
from gte_ray.runtime.filesystems import whole_files as whole_files
from gte_ray.runtime.filesystems import written_aside
from gte_ray.runtime.http import SCHEMES
from gte_ray.runtime.uri import beside as beside
from gte_ray.runtime.uri import join as join
from gte_ray.runtime.uri import name as name
from gte_ray.runtime.uri import parse


def absolute(uri: str) -> str:
    """`uri` in a form that is valid in any working directory: local paths become absolute."""
    return uri if "://" in uri else resolve(uri)[1]


def parts(uri: str) -> list[str]:
    """The names of the folders around a file and its own, without what is no place: users, queries, `.`."""
    scheme, mark, rest = absolute(uri).rpartition("://")
    host, _, path = rest.partition("/")
    if scheme in ("http", "https"):
        path = path.partition("?")[0].partition("#")[0]
    names = [host.rpartition("@")[2] if mark else host, *path.split("/")]
    return [unquote(name) if scheme == "file" else name for name in names if name not in ("", ".")]


def same_place(uri: str, other: str) -> bool:
    """Whether both are one place, by whatever names: relative paths, links, file:// URIs."""
    (filesystem, path), (other_filesystem, other_path) = resolve(uri), resolve(other)
    if isinstance(filesystem, fs.LocalFileSystem) and isinstance(other_filesystem, fs.LocalFileSystem):
        return os.path.realpath(path) == os.path.realpath(other_path)
    return filesystem.equals(other_filesystem) and path.strip("/") == other_path.strip("/")


def absolute_folder(name: str, *words: str) -> str:
    """The absolute path of `name` if it is an existing local folder, else `name`, such as a model's id.

    `words` have another meaning and are returned unchanged: a folder of that name has to be passed as ./NAME.
    """
    if name in words or "://" in name or not os.path.isdir(name):
        return name
    return absolute(name)


def exists(uri: str) -> bool:
    filesystem, path = resolve(uri)
    return filesystem.get_file_info(path).type != fs.FileType.NotFound


def is_folder(uri: str) -> bool:
    """Whether `uri` is exactly the name of a folder. False for an address of a server, which has none."""
    if uri.startswith(SCHEMES):
        return False
    filesystem, path = resolve(uri)
    return filesystem.get_file_info(path).type == fs.FileType.Directory


def read_bytes(uri: str) -> bytes:
    """The content of the file. Raises FileNotFoundError if there is none."""
    filesystem, path = resolve(uri)
    with filesystem.open_input_stream(path) as stream:
        return stream.read()


def write_bytes(uri: str, content: bytes) -> None:
    """Writes the file whole or not at all: to a temporary file first, which is then moved into place."""
    filesystem, path = resolve(uri)
    filesystem.create_dir(os.path.dirname(path), recursive=True)
    with written_aside(filesystem, path) as temporary, filesystem.open_output_stream(temporary) as stream:
        stream.write(content)


def read_json(uri: str) -> Any:
    return json.loads(read_bytes(uri))


def write_json(uri: str, value: Any) -> None:
    write_bytes(uri, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


class FileStamp(NamedTuple):
    """A file as a listing has it: equal as long as the file is unchanged."""

    uri: str
    size: int
    """Bytes."""
    mtime_ns: int


def glob(pattern: str) -> list[FileStamp]:
    """The files that match `pattern`, sorted by their paths or URIs, which can be opened.

    `*`, `?`, `[...]` and `[!...]` match within a name and `**` across folders, in paths and URIs alike; see
    `listing`. No file is asked for by itself. Raises OSError if a folder cannot be listed.
    """
    location = parse(absolute(pattern))
    if location.root.startswith(SCHEMES):
        return _at_address(str(location))
    filesystem, folder = resolve(str(location._replace(path="/")))
    return [
        FileStamp(str(location._replace(path=f"/{path}")), entry.size, entry.mtime_ns)
        for path, entry in listing.matches(filesystem, folder, location.path.removeprefix("/")).items()
    ]


def _at_address(url: str) -> list[FileStamp]:
    """The one file at `url`. Raises RunError for a pattern: nothing says which files a server has."""
    if any(character in parse(url).path for character in listing.MAGIC):
        raise RunError(
            f"{url}: files of a server cannot be listed; name one file, or a folder of hf:// or a bucket"
        )
    filesystem, path = resolve(url)
    info = filesystem.get_file_info(path)
    return [FileStamp(url, info.size, info.mtime_ns or 0)] if info.type == fs.FileType.File else []


def folders(uri: str) -> list[str]:
    """Sorted names of the folders directly in `uri`. Empty if `uri` does not exist."""
    filesystem, path = resolve(uri)
    infos = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return sorted(info.base_name for info in infos if info.type == fs.FileType.Directory)


def sizes(uri: str) -> dict[str, int]:
    """Bytes of each file below `uri` by its name, nested ones as `folder/name`. Empty if `uri` does not exist.

    One listing, which takes an object store a request for each 1,000 files.
    """
    filesystem, path = resolve(uri)
    infos = filesystem.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
    start = len(path.rstrip("/")) + 1
    return {info.path[start:]: info.size or 0 for info in infos if info.type == fs.FileType.File}


def files(uri: str) -> list[str]:
    """Sorted names of all files below `uri`, nested ones as `folder/name`. Empty if `uri` does not exist."""
    return sorted(sizes(uri))


def stamps(uris: list[str]) -> list[tuple[str, int, int]]:
    """Path, size (bytes) and modification time (ns) of each file: equal as long as the file is unchanged."""
    rows = []
    for uri in uris:
        filesystem, path = resolve(uri)
        info = filesystem.get_file_info(path)
        rows.append((path, info.size or 0, info.mtime_ns or 0))
    return rows


def upload(folder: str, uri: str) -> None:
    """Copies the contents of a local folder to `uri`."""
    filesystem, path = resolve(uri)
    filesystem.create_dir(path, recursive=True)
    fs.copy_files(folder, path, destination_filesystem=filesystem)


def upload_file(path: str, uri: str) -> None:
    """Copies a local file to `uri` whole or not at all. Creates the folder of `uri`."""
    filesystem, target = resolve(uri)
    filesystem.create_dir(os.path.dirname(target), recursive=True)
    with written_aside(filesystem, target) as temporary:
        fs.copy_files(path, temporary, destination_filesystem=filesystem)


def download_file(uri: str, path: str) -> None:
    """Copies the file at `uri` to a local path."""
    filesystem, source = resolve(uri)
    fs.copy_files(source, path, source_filesystem=filesystem)


@contextmanager
def local_folder(uri: str) -> Iterator[str]:
    """Yields a local path of the folder at `uri`. A remote folder is copied to a temporary one."""
    if "://" not in uri:
        yield uri
        return
    filesystem, source = resolve(uri)
    with tempfile.TemporaryDirectory() as folder:
        fs.copy_files(source, folder, source_filesystem=filesystem)
        yield folder


def delete(uri: str) -> None:
    """Deletes a folder or file. Does nothing if there is none."""
    filesystem, path = resolve(uri)
    file_type = filesystem.get_file_info(path).type
    if file_type == fs.FileType.Directory:
        filesystem.delete_dir(path)
    elif file_type == fs.FileType.File:
        filesystem.delete_file(path)


def append_lines(file: io.FileIO, lines: bytes) -> None:
    """Appends `lines` to a file opened unbuffered with `a+b`, or appends nothing and raises OSError.

    A last line that a kill cut short gets its line feed first.
    """
    size = file.seek(0, os.SEEK_END)
    if size:
        file.seek(size - 1)
        if file.read(1) != b"\n":
            lines = b"\n" + lines
    try:
        if file.write(lines) < len(lines):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)
    except OSError:
        file.truncate(size)
        raise
