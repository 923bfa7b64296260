"""Files at a local path or a URI (s3://, gs://, ...), through pyarrow.fs."""

import errno
import io
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyarrow import fs

from gte_ray.runtime import listing
from gte_ray.runtime.filesystems import check_reachable as check_reachable
from gte_ray.runtime.filesystems import resolve as resolve
from gte_ray.runtime.filesystems import whole_files as whole_files
from gte_ray.runtime.filesystems import written_aside
from gte_ray.runtime.uri import beside as beside
from gte_ray.runtime.uri import join as join
from gte_ray.runtime.uri import name as name
from gte_ray.runtime.uri import parse


def absolute(uri: str) -> str:
    """`uri` as processes in other folders can use it: local paths are made absolute."""
    return uri if "://" in uri else resolve(uri)[1]


def absolute_folder(name: str, *words: str) -> str:
    """A folder that is there as processes elsewhere find it; any other name, such as a model's id, as it is.

    `words` mean something else where `name` is given: a folder that is called so is given as ./NAME.
    """
    if name in words or "://" in name or not os.path.isdir(name):
        return name
    return absolute(name)


def exists(uri: str) -> bool:
    filesystem, path = resolve(uri)
    return filesystem.get_file_info(path).type != fs.FileType.NotFound


def read_bytes(uri: str) -> bytes:
    """The whole file; raises FileNotFoundError where there is none."""
    filesystem, path = resolve(uri)
    with filesystem.open_input_stream(path) as stream:
        return stream.read()


def write_bytes(uri: str, content: bytes) -> None:
    """Writes the file whole or not at all: aside first, then moved into place."""
    filesystem, path = resolve(uri)
    filesystem.create_dir(os.path.dirname(path), recursive=True)
    with written_aside(filesystem, path) as temporary, filesystem.open_output_stream(temporary) as stream:
        stream.write(content)


def read_json(uri: str) -> Any:
    return json.loads(read_bytes(uri))


def write_json(uri: str, value: Any) -> None:
    write_bytes(uri, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def glob(pattern: str) -> list[str]:
    """The files that match, sorted; each can be opened by what stands for it here.

    `*`, `?`, `[...]` and `[!...]` within a name and `**` over folders, in paths and URIs alike: see `listing`.
    Raises OSError for a folder that cannot be listed.
    """
    place = parse(absolute(pattern))
    filesystem, folder = resolve(str(place._replace(path="/")))
    return [
        str(place._replace(path=f"/{path}"))
        for path in listing.matches(filesystem, folder, place.path.removeprefix("/"))
    ]


def folders(uri: str) -> list[str]:
    """Names of the folders directly in `uri`, sorted; none where there is no such folder."""
    filesystem, path = resolve(uri)
    found = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return sorted(info.base_name for info in found if info.type == fs.FileType.Directory)


def files(uri: str) -> list[str]:
    """Names of all files in the folder `uri`, those in its folders as `folder/name`, sorted; none without one."""
    filesystem, path = resolve(uri)
    found = filesystem.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
    start = len(path.rstrip("/")) + 1
    return sorted(info.path[start:] for info in found if info.type == fs.FileType.File)


def stamps(uris: list[str]) -> list[tuple[str, int, int]]:
    """Path, size and time of change (ns) of each file: equal while the file is left as it is."""
    found = []
    for uri in uris:
        filesystem, path = resolve(uri)
        info = filesystem.get_file_info(path)
        found.append((path, info.size or 0, info.mtime_ns or 0))
    return found


def upload(folder: str, uri: str) -> None:
    """Copies all that is in a local folder to `uri`."""
    filesystem, path = resolve(uri)
    filesystem.create_dir(path, recursive=True)
    fs.copy_files(folder, path, destination_filesystem=filesystem)


def upload_file(path: str, uri: str) -> None:
    """Copies a local file to `uri`, whose folder is made, whole or not at all."""
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
    """A path of the folder at `uri`, which is copied where it is not on this machine."""
    if "://" not in uri:
        yield uri
        return
    filesystem, source = resolve(uri)
    with tempfile.TemporaryDirectory() as folder:
        fs.copy_files(source, folder, source_filesystem=filesystem)
        yield folder


def delete(uri: str) -> None:
    """Deletes a folder or file; nothing happens where there is none."""
    filesystem, path = resolve(uri)
    kind = filesystem.get_file_info(path).type
    if kind == fs.FileType.Directory:
        filesystem.delete_dir(path)
    elif kind == fs.FileType.File:
        filesystem.delete_file(path)


def append_lines(file: io.FileIO, lines: bytes) -> None:
    """Adds whole lines to a file opened with `a+b` and without a buffer, or nothing; then OSError.

    A last line that a kill cut off gets its end.
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
