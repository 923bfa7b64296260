"""Files at a local path or a URI (s3://, gs://, ...), through pyarrow.fs."""

import json
import os
from typing import Any

from pyarrow import fs

from gte_ray.errors import UsageError


def resolve(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of `uri` and the path inside it; local paths are made absolute."""
    if "://" not in uri:
        return fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(uri))
    try:
        return fs.FileSystem.from_uri(uri)
    except (ValueError, OSError) as error:
        raise UsageError(
            f"{uri}: not a location that can be opened ({error}); "
            "a local path, or a file://, s3://, gs:// or hdfs:// URI is allowed"
        ) from error


def absolute(uri: str) -> str:
    """`uri` as processes in other folders can use it: local paths are made absolute."""
    return uri if "://" in uri else resolve(uri)[1]


def join(uri: str, *names: str) -> str:
    """`uri` extended by path components."""
    return "/".join([uri.rstrip("/"), *names])


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
    aside = f"{path}.tmp{os.getpid()}"
    with filesystem.open_output_stream(aside) as stream:
        stream.write(content)
    filesystem.move(aside, path)


def read_json(uri: str) -> Any:
    return json.loads(read_bytes(uri))


def write_json(uri: str, value: Any) -> None:
    write_bytes(uri, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def delete(uri: str) -> None:
    """Deletes a folder or file; nothing happens where there is none."""
    filesystem, path = resolve(uri)
    kind = filesystem.get_file_info(path).type
    if kind == fs.FileType.Directory:
        filesystem.delete_dir(path)
    elif kind == fs.FileType.File:
        filesystem.delete_file(path)
