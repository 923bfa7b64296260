"""Files at a local path or a URI (s3://, gs://, ...), through pyarrow.fs."""

import errno
import io
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pyarrow import NativeFile, fs

from gte_ray.errors import RunError, UsageError
from gte_ray.runtime import listing
from gte_ray.runtime.uri import beside as beside
from gte_ray.runtime.uri import join as join
from gte_ray.runtime.uri import name as name
from gte_ray.runtime.uri import parse

S3_ATTEMPTS = 10
"""Times that a request to S3 is made before it fails: about 90 s. Clients of other stores wait by themselves."""
REGION_ATTEMPTS = 15
"""The same for the question in which region a bucket is, which Arrow gives up after 6 s."""


class _RetryingS3(fs.S3FileSystem):
    """S3 that a short outage does not disturb, also in the processes that it is sent to."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _with_retries, (super().__reduce__()[1][0],)


def _with_retries(options: dict[str, Any]) -> fs.S3FileSystem:
    return _RetryingS3(**options, retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=S3_ATTEMPTS))


class _WholeFiles(fs.LocalFileSystem):
    """Files are written whole or not at all, as object stores do; also in the processes that it is sent to."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _WholeFiles, ()

    @contextmanager
    def open_output_stream(self, path: str, **options: Any) -> Iterator[NativeFile]:
        with _aside(self, path) as aside, super().open_output_stream(aside, **options) as stream:
            yield stream


@contextmanager
def _aside(filesystem: fs.FileSystem, path: str) -> Iterator[str]:
    """A path beside `path` to write to: moved into its place at the end, deleted where that is not reached."""
    aside = f"{path}.tmp{os.getpid()}"
    try:
        yield aside
        filesystem.move(aside, path)
    except BaseException:
        with suppress(OSError):
            filesystem.delete_file(aside)
        raise


def whole_files(filesystem: fs.FileSystem) -> fs.FileSystem:
    """`filesystem` for one that writes over files of its own: what it wrote before stays where that fails."""
    return _WholeFiles() if isinstance(filesystem, fs.LocalFileSystem) else filesystem


def check_reachable(uri: str) -> None:
    """Asks S3 for `uri` without patience, so that a command with a wrong place ends at once.

    Raises RunError where nothing answers. Other places are not asked: they tell it themselves.
    """
    try:
        filesystem, path = _open(uri)
        if isinstance(filesystem, fs.S3FileSystem):
            filesystem.get_file_info(path)
    except OSError as error:
        raise RunError(_unreachable(uri, error)) from error


def resolve(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of `uri` and the path inside it; local paths are made absolute.

    Raises UsageError for what is no place, OSError for one that cannot be reached.
    """
    for attempt in range(1, REGION_ATTEMPTS + 1):
        try:
            filesystem, path = _open(uri)
            break
        except OSError as error:
            if "NETWORK_CONNECTION" not in str(error) or attempt == REGION_ATTEMPTS:
                raise OSError(_unreachable(uri, error)) from error
    if isinstance(filesystem, fs.S3FileSystem):
        filesystem = _with_retries(filesystem.__reduce__()[1][0])
    return filesystem, path


def _unreachable(uri: str, error: OSError) -> str:
    return f"{uri}: cannot be reached ({str(error).splitlines()[0]})"


def _open(uri: str) -> tuple[fs.FileSystem, str]:
    if "://" not in uri:
        return fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(uri))
    if uri.startswith("hf://"):
        from huggingface_hub import HfFileSystem

        return fs.PyFileSystem(fs.FSSpecHandler(HfFileSystem())), uri.removeprefix("hf://").strip("/")
    try:
        return fs.FileSystem.from_uri(str(parse(uri)))
    except ValueError as error:
        raise UsageError(
            f"{uri}: not a location that can be opened ({error}); "
            "a local path, or a file://, s3://, gs://, hdfs:// or hf:// URI is allowed"
        ) from error


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
    with _aside(filesystem, path) as aside, filesystem.open_output_stream(aside) as stream:
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
    with _aside(filesystem, target) as aside:
        fs.copy_files(path, aside, destination_filesystem=filesystem)


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
