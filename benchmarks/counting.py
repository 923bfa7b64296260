"""A local file system that counts what an object store would be asked for."""

from collections import Counter
from typing import Any

import pyarrow as pa
from pyarrow import fs


class CountingHandler(fs.FSSpecHandler):
    """Counts opens, range reads and listings of a local disk, and the bytes that are read."""

    def __init__(self) -> None:
        import fsspec

        super().__init__(fsspec.filesystem("file", auto_mkdir=True))
        self.counts: Counter[str] = Counter()

    def open_input_file(self, path: str) -> pa.NativeFile:
        self.counts["open"] += 1
        return pa.PythonFile(_CountedFile(path, self.counts), mode="r")

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return self.open_input_file(path)

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        self.counts["info"] += len(paths)
        return super().get_file_info(paths)

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        infos = super().get_file_info_selector(selector)
        self.counts["listing of 1,000"] += -(-len(infos) // 1_000)
        return infos


class _CountedFile:
    def __init__(self, path: str, counts: Counter[str]):
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed with the object
        self._counts = counts

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self._counts["read"] += 1
        self._counts["bytes"] += len(content)
        return content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
