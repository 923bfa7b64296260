"""Files at http:// and https:// addresses, read in ranges: a connection that breaks costs a range, not the file."""

import http.client
import io
import re
import time
import urllib.error
import urllib.request
from email.message import Message
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import fs

from gte_ray.errors import RunError

SCHEMES = ("http://", "https://")
RANGE_BYTES = 2**24
"""Most bytes of a request, which a reader that goes on from one to the next gets."""
SEEK_BYTES = 2**18
"""Fewest bytes of a request, for a reader that goes elsewhere."""
ATTEMPTS = 7
"""Attempts of a request before it fails, about a minute."""
TIMEOUT_SECONDS = 60
AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""Answers after which the same request may succeed."""
FIRST_WAIT = 1.0
"""Seconds before the second attempt; twice as many before each further one."""


class Remote(NamedTuple):
    """What a server says of a file."""

    size: int
    """Bytes."""
    tag: str
    """Identifies its content; empty if the server does not say."""
    mtime_ns: int


class Http(fs.FileSystemHandler):
    """A file system for Arrow whose paths are addresses. Nothing can be listed or written."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Http)

    def __hash__(self) -> int:
        return hash(Http)

    def get_type_name(self) -> str:
        return "http"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        return [_info(path) for path in paths]

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        return []

    def open_input_stream(self, path: str) -> pa.PythonFile:
        return self.open_input_file(path)

    def open_input_file(self, path: str) -> pa.PythonFile:
        return pa.PythonFile(_File(path, look_at(path)), mode="r")

    def _write(self, *arguments: Any) -> Any:
        raise RunError(f"{arguments[0]}: can be read, not written; write to a local path or a bucket")

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = delete_file = _write
    move = copy_file = open_output_stream = open_append_stream = _write


def look_at(url: str) -> Remote:
    """What the server says of a file. Raises FileNotFoundError if there is none, OSError if it does not serve ranges."""
    answer = _ask(url, {"Range": "bytes=0-0"})
    found = re.search(r"/(\d+)$", answer.headers.get("Content-Range", ""))
    if answer.status == 200 or not found:
        raise OSError(f"{url}: the server sends no ranges of files; download the file and name it")
    modified, tag = answer.headers.get("Last-Modified"), answer.headers.get("ETag", "")
    mtime_ns = int(parsedate_to_datetime(modified).timestamp() * 1e9) if modified else 0
    if not modified and tag:
        mtime_ns = int.from_bytes(blake2b(tag.encode(), digest_size=7).digest())
    return Remote(int(found[1]), tag, mtime_ns)


class _File(io.RawIOBase):
    """A file as bytes, of which the last range is kept."""

    def __init__(self, url: str, remote: Remote):
        self.url, self.remote = url, remote
        self.position = self.first = 0
        self.content = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.remote.size}[whence]
        self.position = base + offset
        return self.position

    def read(self, size: int = -1) -> bytes:
        stop = self.remote.size if size < 0 else min(self.position + size, self.remote.size)
        parts = []
        while self.position < stop:
            if not self.first <= self.position < self.first + len(self.content):
                goes_on = self.position == self.first + len(self.content)
                wanted = RANGE_BYTES if goes_on else min(max(stop - self.position, SEEK_BYTES), RANGE_BYTES)
                last = min(self.position + wanted, self.remote.size)
                self.first, self.content = self.position, _range(self.url, self.remote, self.position, last)
            start = self.position - self.first
            parts.append(self.content[start : stop - self.first])
            self.position += len(parts[-1])
        return b"".join(parts)


def _range(url: str, remote: Remote, first: int, stop: int) -> bytes:
    """The bytes from `first` to before `stop`. Raises OSError if they cannot be had, or if the file has changed."""
    headers = {"Range": f"bytes={first}-{stop - 1}"}
    if remote.tag.startswith('"'):
        headers["If-Range"] = remote.tag
    answer = _ask(url, headers)
    if answer.status != 206 or not answer.headers.get("Content-Range", "").endswith(f"/{remote.size}"):
        raise OSError(f"{url}: the file changed while it was read")
    if len(answer.content) != stop - first:
        raise OSError(
            f"{url}: the server sends {len(answer.content):,} of the {stop - first:,} bytes of a range"
        )
    return answer.content


class _Answer(NamedTuple):
    status: int
    headers: Message
    content: bytes
    """Of an answer with a range; empty of one with the whole file."""


def _ask(url: str, headers: dict[str, str]) -> _Answer:
    """The answer to a request for a range, which is tried again where that may help. Raises OSError."""
    request = urllib.request.Request(
        url, headers={"User-Agent": "gte_ray", "Accept-Encoding": "identity", **headers}
    )
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                return _Answer(answer.status, answer.headers, answer.read() if answer.status == 206 else b"")
        except urllib.error.HTTPError as error:
            if error.code == 416:  # of an empty file no range can be had
                return _Answer(416, error.headers, b"")
            if error.code in (404, 410):
                raise FileNotFoundError(f"{url}: there is no such file") from error
            if error.code not in AGAIN or attempt == ATTEMPTS:
                raise OSError(f"{url}: the server answers {error.code} {error.reason}") from error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            if attempt == ATTEMPTS:
                reason = getattr(error, "reason", None) or type(error).__name__
                raise OSError(f"{url}: cannot be reached, or the connection broke ({reason})") from error
        time.sleep(FIRST_WAIT * 2 ** (attempt - 1))
    raise AssertionError("the last attempt returns or raises")


def _info(url: str) -> fs.FileInfo:
    try:
        remote = look_at(url)
    except FileNotFoundError:
        return fs.FileInfo(url, fs.FileType.NotFound)
    return fs.FileInfo(url, fs.FileType.File, size=remote.size, mtime_ns=remote.mtime_ns)
