"""Reads rows of Parquet parts. Neighbouring reads open a part and decode a row group once, in bounded memory."""

import threading
from collections import OrderedDict

import pyarrow as pa
import pyarrow.parquet as pq

from gte_ray.data.step_plan import ROW_GROUP_ROWS
from gte_ray.errors import RunError
from gte_ray.runtime.parquet import open_parquet

OPEN_PARTS = 32
"""Parts that are kept open, each with a descriptor and its footer, 1.1 MiB for 128 row groups."""
DECODED_BYTES = 40 * 2**20
"""Decoded row groups that are kept."""


class PartReader:
    """The open parts of a store, and the row groups read last. Threads may share it; they take turns."""

    def __init__(self) -> None:
        self.decoded_rows = 0
        """Rows that were decoded so far."""
        self._files: OrderedDict[str, pq.ParquetFile] = OrderedDict()
        self._groups: OrderedDict[tuple[str, int, tuple[str, ...]], pa.Table] = OrderedDict()
        self._bytes = 0
        self._turn = threading.Lock()

    def read(self, uri: str, rows: int, first: int, last: int, columns: tuple[str, ...]) -> pa.Table:
        """Rows first <= r < last of a part that should have `rows`.

        The table refers to the memory of whole row groups. Raises RunError, with the part's name, if it is missing,
        damaged or has another number of rows.
        """
        with self._turn:
            return self._read(uri, rows, first, last, columns)

    def _read(self, uri: str, rows: int, first: int, last: int, columns: tuple[str, ...]) -> pa.Table:
        if last <= first:
            return self._file(uri, rows).schema_arrow.empty_table().select(list(columns))
        groups = range(first // ROW_GROUP_ROWS, -(-last // ROW_GROUP_ROWS))
        tables = [self._group(uri, rows, group, columns) for group in groups]
        start = groups.start * ROW_GROUP_ROWS
        return pa.concat_tables(tables).slice(first - start, last - first)

    def _group(self, uri: str, rows: int, group: int, columns: tuple[str, ...]) -> pa.Table:
        key = uri, group, columns
        if key in self._groups:
            self._groups.move_to_end(key)
            return self._groups[key]
        try:
            table = self._file(uri, rows).read_row_group(group, columns=list(columns), use_threads=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise RunError(f"{uri}: cannot be read ({str(error).splitlines()[0]})") from error
        self.decoded_rows += len(table)
        table = table.select(list(columns))
        self._groups[key] = table
        self._bytes += table.nbytes
        while self._bytes > DECODED_BYTES and len(self._groups) > 1:
            self._bytes -= self._groups.popitem(last=False)[1].nbytes
        return table

    def _file(self, uri: str, rows: int) -> pq.ParquetFile:
        if uri in self._files:
            self._files.move_to_end(uri)
            return self._files[uri]
        file = open_parquet(uri)
        if file.metadata.num_rows != rows:
            file.close(force=True)
            raise RunError(f"{uri}: has {file.metadata.num_rows} rows where the manifest says {rows}")
        self._files[uri] = file
        if len(self._files) > OPEN_PARTS:
            self._files.popitem(last=False)[1].close(force=True)
        return file
