"""Arrow's file system for a path or URI, with retries for S3 and all-or-nothing writes to local disks."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

from pyarrow import NativeFile, fs

from gte_ray.errors import RunError, UsageError
from gte_ray.runtime.http import SCHEMES, Http
from gte_ray.runtime.uri import parse

S3_ATTEMPTS = 10
"""Attempts of a request to S3 before it fails, about 90 s. Clients of other stores retry by themselves."""
BUCKETS = ("s3://", "gs://")
"""Stores of which each new file system is another client."""
CLIENT_VARIABLES = ("AWS_", "GOOGLE_", "STORAGE_EMULATOR_HOST")
"""Beginnings of the environment variables that say where such a store is and who asks."""
REGION_ATTEMPTS = 15
"""Attempts to look up the region of a bucket. Arrow gives up each of them after 6 s."""


class _RetryingS3(fs.S3FileSystem):
    """S3 with retries that outlast a short outage. They survive pickling to another process."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _with_retries, (super().__reduce__()[1][0],)


def _with_retries(options: dict[str, Any]) -> fs.S3FileSystem:
    return _RetryingS3(**options, retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=S3_ATTEMPTS))


class _WholeFiles(fs.LocalFileSystem):
    """A local disk that writes files whole or not at all, as object stores do, also after pickling."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _WholeFiles, ()

    @contextmanager
    def open_output_stream(self, path: str, **options: Any) -> Iterator[NativeFile]:
        with (
            written_aside(self, path) as temporary,
            super().open_output_stream(temporary, **options) as stream,
        ):
            yield stream


@contextmanager
def written_aside(filesystem: fs.FileSystem, path: str) -> Iterator[str]:
    """Yields a temporary path beside `path`. It is moved to `path` at the end, or deleted on an error."""
    temporary = f"{path}.tmp{os.getpid()}"
    try:
        yield temporary
        filesystem.move(temporary, path)
    except BaseException:
        with suppress(OSError):
            filesystem.delete_file(temporary)
        raise


def whole_files(filesystem: fs.FileSystem) -> fs.FileSystem:
    """`filesystem` for a writer that overwrites its own files. If a write fails, the earlier file stays."""
    return _WholeFiles() if isinstance(filesystem, fs.LocalFileSystem) else filesystem


def check_reachable(uri: str) -> None:
    """Looks up `uri` on S3 without the retries of `resolve`, so that a wrong location fails at once.

    Raises RunError if S3 does not answer. Other stores are not checked: they report it themselves.
    """
    try:
        filesystem, path = open_filesystem(uri)
        if isinstance(filesystem, fs.S3FileSystem):
            filesystem.get_file_info(path)
    except OSError as error:
        raise RunError(_unreachable(uri, error)) from error


def resolve(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of `uri` and the path inside it. Local paths become absolute.

    Raises UsageError if `uri` is not a location, OSError if the location cannot be reached.
    """
    location = parse(uri)
    if not location.root.startswith(BUCKETS):
        return open_filesystem(uri)
    environment = tuple(sorted(item for item in os.environ.items() if item[0].startswith(CLIENT_VARIABLES)))
    bucket = location.root.partition("://")[2].rpartition("@")[2].partition(":")[0]
    path = f"{bucket}{location.path}".rstrip("/")
    try:
        return _client(str(location._replace(path="")), environment), path
    except OSError as error:
        raise OSError(_unreachable(uri, error)) from error


@lru_cache(maxsize=16)
def _client(uri: str, environment: tuple[tuple[str, str], ...]) -> fs.FileSystem:
    """The client of a bucket, one for each process: making one asks the network for the bucket's region."""
    for attempt in range(1, REGION_ATTEMPTS + 1):
        try:
            filesystem, _ = open_filesystem(uri)
            break
        except OSError as error:
            if "NETWORK_CONNECTION" not in str(error) or attempt == REGION_ATTEMPTS:
                raise
    if isinstance(filesystem, fs.S3FileSystem):
        return _with_retries(filesystem.__reduce__()[1][0])
    return filesystem


def _unreachable(uri: str, error: OSError) -> str:
    return f"{uri}: cannot be reached ({str(error).splitlines()[0]})"


def open_filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """The same as `resolve`, without retries."""
    if "://" not in uri:
        return fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(uri))
    if uri.startswith("hf://"):
        from huggingface_hub import HfFileSystem

        return fs.PyFileSystem(fs.FSSpecHandler(HfFileSystem())), uri.removeprefix("hf://").strip("/")
    if uri.startswith(SCHEMES):
        return fs.PyFileSystem(Http()), str(parse(uri))
    try:
        return fs.FileSystem.from_uri(str(parse(uri)))
    except ValueError as error:
        raise UsageError(
            f"{uri}: not a location that can be opened ({error}); "
            "a local path, or a file://, s3://, gs://, hdfs://, hf:// or https:// URI is allowed"
        ) from error
