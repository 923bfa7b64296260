"""Text files as lines: decompressed, in their encoding, whole or the share of a piece."""

import codecs
import io
from typing import Any

import pyarrow as pa

from gte_ray.data.parquet import LFS_POINTER
from gte_ray.errors import RunError
from gte_ray.runtime import storage

COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
_HEAD_BYTES = 256
_BUFFER_BYTES = 2**20
_BEGINNINGS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_FOREIGN = {
    LFS_POINTER: "is a pointer of Git LFS, not the file itself; `git lfs pull` fetches that",
    b"PK\x03\x04": "is a ZIP archive; unpack it",
    b"BZh": "is compressed by bzip2; gzip and zstd are allowed",
    b"\xfd7zXZ": "is compressed by xz; gzip and zstd are allowed",
    b"7z\xbc\xaf": "is a 7z archive; unpack it",
    b"PAR1": "is a Parquet file; its name has to end with .parquet",
}
"""First bytes of files that only pass for text files, and the reason to report for each."""
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks. A file without one is UTF-8."""
UTF_8 = "utf-8-sig"


class TextFile:
    """An open text file. Raises RunError if its first bytes are those of something else."""

    def __init__(self, uri: str, encoding: str = ""):
        """`encoding` is that of the file; empty to tell it by a byte order mark."""
        self.uri = uri
        self._raw, plain = _decompressed(uri)
        self._encoding = encoding or _encoding(self._raw, uri)
        self.head = self._raw.peek(_HEAD_BYTES)[:_HEAD_BYTES].decode(self._encoding, "ignore")
        # A lone carriage return ends a line only in files without other line ends.
        self._newline = "\n" if b"\n" in self._raw.peek(_HEAD_BYTES) else ""
        self.has_lines = plain and self._encoding == UTF_8 and self._newline == "\n"
        """Whether the position of a line's beginning is where a byte of the file is a line feed."""

    def text(self) -> io.TextIOWrapper:
        """All of the file, once."""
        return self._decoded(self._raw)

    def lines(self, index: int, count: int) -> io.TextIOWrapper:
        """The lines that begin in the `index`-th of `count` shares of the file's bytes, if it `has_lines`."""
        filesystem, path = storage.resolve(self.uri)
        file = filesystem.open_input_file(path)
        first, last = (_line_start(file, file.size() * k // count) for k in (index, index + 1))
        return self._decoded(io.BufferedReader(_Section(file, first, last), _BUFFER_BYTES))

    def _decoded(self, raw: io.BufferedReader) -> io.TextIOWrapper:
        return io.TextIOWrapper(raw, self._encoding, errors="surrogateescape", newline=self._newline)


def _line_start(file: pa.NativeFile, offset: int) -> int:
    """The first position from `offset` on at which a line begins, or the end of the file."""
    if offset == 0:
        return 0
    position = offset - 1
    while content := file.read_at(_BUFFER_BYTES, position):
        end = content.find(b"\n")
        if end >= 0:
            return position + end + 1
        position += len(content)
    return position


class _Section(io.RawIOBase):
    """Bytes first <= b < last of a file."""

    def __init__(self, file: pa.NativeFile, first: int, last: int):
        self.file, self.position, self.last = file, first, last

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self.file.read_at(min(len(buffer), self.last - self.position), self.position)
        buffer[: len(content)] = content
        self.position += len(content)
        return len(content)


def _decompressed(uri: str) -> tuple[io.BufferedReader, bool]:
    """The bytes of a text file, and whether they are as they lie there.

    They are decompressed if the file's name or its first bytes call for it.
    """
    filesystem, path = storage.resolve(uri)
    raw = io.BufferedReader(filesystem.open_input_stream(path, compression=None), _BUFFER_BYTES)
    head = raw.peek(_HEAD_BYTES)
    name = storage.name(uri).lower()
    codec = next((codec for ending, codec in COMPRESSED.items() if name.endswith(ending)), None)
    codec = codec or next((codec for first, codec in _BEGINNINGS.items() if head.startswith(first)), None)
    if codec:
        packed = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), codec)
        raw = io.BufferedReader(packed, _BUFFER_BYTES)
        head = raw.peek(_HEAD_BYTES)
    for first, reason in _FOREIGN.items():
        if head.startswith(first):
            raise RunError(f"{uri}: {reason}")
    return raw, codec is None


def _encoding(raw: io.BufferedReader, uri: str) -> str:
    """The encoding by byte order mark, UTF-8 without one. Raises RunError for an unmarked UTF-16 file.

    Invalid UTF-8 is not an error: the rows that have it are dropped and counted later.
    """
    head = raw.peek(_HEAD_BYTES)[:_HEAD_BYTES]
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return encoding
    if head.count(0) > len(head) // 4:
        raise RunError(f"{uri}: is not UTF-8 (UTF-16 without a byte order mark?); convert it, as by iconv")
    return UTF_8
