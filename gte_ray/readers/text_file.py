"""Text files as lines: decompressed, in their encoding, whole or the share of a piece."""

import codecs
import io

import pyarrow as pa

from gte_ray.errors import RunError
from gte_ray.readers.compressed import BUFFER_BYTES, Section, decompressed
from gte_ray.runtime import storage
from gte_ray.runtime.parquet import LFS_POINTER

_HEAD_BYTES = 256
_FOREIGN = {
    LFS_POINTER: "is a pointer of Git LFS, not the file itself; `git lfs pull` fetches that",
    b"PK\x03\x04": "is a ZIP archive; its name has to end with .zip",
    b"7z\xbc\xaf": "is a 7z archive; its name has to end with .7z",
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

    def __init__(self, uri: str, encoding: str = "", member: io.BufferedReader | None = None):
        """`encoding` is that of the file; empty to tell it by a byte order mark.

        `member` is the content of a file in an archive, which `uri` then names for messages alone.
        """
        self.uri = uri
        self.raw, plain = decompressed(member or _opened(uri), storage.name(uri))
        """All of its bytes, once, decompressed."""
        for first, reason in _FOREIGN.items():
            if self.raw.peek(_HEAD_BYTES).startswith(first):
                raise RunError(f"{uri}: {reason}")
        self._encoding = encoding or _encoding(self.raw, uri)
        self.head = self.raw.peek(_HEAD_BYTES)[:_HEAD_BYTES].decode(self._encoding, "ignore")
        # A lone carriage return ends a line only in files without other line ends.
        self._newline = "\n" if b"\n" in self.raw.peek(_HEAD_BYTES) else ""
        self.has_lines = plain and member is None and self._encoding == UTF_8 and self._newline == "\n"
        """Whether the position of a line's beginning is where a byte of the file is a line feed."""

    def text(self) -> io.TextIOWrapper:
        """All of the file, once."""
        return self._decoded(self.raw)

    def lines(self, index: int, count: int) -> io.TextIOWrapper:
        """The lines that begin in the `index`-th of `count` shares of the file's bytes, if it `has_lines`."""
        filesystem, path = storage.resolve(self.uri)
        file = filesystem.open_input_file(path)
        first, last = (_line_start(file, file.size() * k // count) for k in (index, index + 1))
        return self._decoded(io.BufferedReader(Section(file, first, last), BUFFER_BYTES))

    def _decoded(self, raw: io.BufferedReader) -> io.TextIOWrapper:
        return io.TextIOWrapper(raw, self._encoding, errors="surrogateescape", newline=self._newline)


def _opened(uri: str) -> io.BufferedReader:
    filesystem, path = storage.resolve(uri)
    return io.BufferedReader(filesystem.open_input_stream(path, compression=None), BUFFER_BYTES)


def _line_start(file: pa.NativeFile, offset: int) -> int:
    """The first position from `offset` on at which a line begins, or the end of the file."""
    if offset == 0:
        return 0
    position = offset - 1
    while content := file.read_at(BUFFER_BYTES, position):
        end = content.find(b"\n")
        if end >= 0:
            return position + end + 1
        position += len(content)
    return position


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
