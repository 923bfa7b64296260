"""Decompressed streams. What is cut off is an error, never an end."""

import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import zstandard

COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}
"""Compression by file name suffix."""
BEGINNINGS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz"}
"""Compression by the first bytes of a file."""
ERRORS = (
    pa.ArrowInvalid, OSError, EOFError, lzma.LZMAError, zlib.error, zstandard.ZstdError, tarfile.TarError,
    zipfile.BadZipFile,
)  # fmt: skip
"""What is raised by streams that cannot be decompressed to their end."""
LARGEST_WINDOW = 2**31
"""Bytes that a zstd stream may refer back to: dumps of forums have windows of 2 GiB."""
BUFFER_BYTES = 2**20
INPUT_BYTES = 2**14
"""Compressed bytes that are decompressed at once: even if all are zeros of a bomb, that is bounded memory."""


def suffix_of(name: str, suffixes: Any) -> str:
    """The longest of the `suffixes` that a file's name ends with, in lower case; empty if there is none."""
    found = [suffix for suffix in suffixes if name.lower().endswith(suffix)]
    return max(found, key=len, default="")


def decompressed(raw: io.BufferedReader, name: str) -> tuple[io.BufferedReader, bool]:
    """The bytes of a file, and whether they are as they lie there.

    They are decompressed if its name or its first bytes call for it.
    """
    head = raw.peek(16)
    codec = COMPRESSED.get(suffix_of(name, COMPRESSED)) or next(
        (codec for first, codec in BEGINNINGS.items() if head.startswith(first)), None
    )
    if codec is None:
        return raw, True
    if codec == "xz":
        stream: Any = _Frames(raw, "xz", lzma.LZMADecompressor)
    elif codec == "zstd":
        stream = _Frames(raw, "zstd", _zstd_frame)
    else:
        stream = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), codec)
    return io.BufferedReader(stream, BUFFER_BYTES), False


class Section(io.RawIOBase):
    """Bytes first <= b < last of a file."""

    def __init__(self, file: pa.NativeFile, first: int, last: int):
        self.file, self.first, self.last, self.position = file, first, last, first

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: self.first, io.SEEK_CUR: self.position, io.SEEK_END: self.last}[whence]
        if base + offset < self.first:
            raise OSError("a position before the beginning")
        self.position = base + offset
        return self.position - self.first

    def readinto(self, buffer: Any) -> int:
        content = self.file.read_at(max(0, min(len(buffer), self.last - self.position)), self.position)
        buffer[: len(content)] = content
        self.position += len(content)
        return len(content)


def _zstd_frame() -> Any:
    return zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW).decompressobj()


class _Frames(io.RawIOBase):
    """The content of one frame, or stream, after another. Raises EOFError if the last one is cut off.

    Python's own `lzma.LZMAFile` takes a damaged stream behind a whole one for the end.
    """

    def __init__(self, raw: io.BufferedReader, kind: str, start: Callable[[], Any]):
        self.raw = raw
        self.kind = kind
        self.start = start
        self.frame: Any = None
        self.rest = b""
        """Bytes of the next frame that came with the last one."""
        self.waiting = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not len(self.waiting):
            content = self.rest or self.raw.read(INPUT_BYTES)
            if self.frame is None and self.kind == "xz":
                # Zeros may pad a stream to a multiple of four bytes.
                content = content.lstrip(b"\0") or self.raw.read(INPUT_BYTES).lstrip(b"\0")
            if not content and self.frame is None:
                return 0
            if not content:
                raise EOFError(f"the last {self.kind} frame is cut off")
            if self.frame is None:
                self.frame = self.start()
            self.waiting = memoryview(self.frame.decompress(content))
            self.rest = self.frame.unused_data if self.frame.eof else b""
            if self.frame.eof:
                self.frame = None
        count = min(len(buffer), len(self.waiting))
        buffer[:count] = self.waiting[:count]
        self.waiting = self.waiting[count:]
        return count
