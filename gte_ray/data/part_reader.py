"""Reads rows of Parquet parts. Neighbouring reads open a part and decode a row group once, in bounded memory."""

from collections import OrderedDict

import pyarrow as pa
import pyarrow.parquet as pq

from gte_ray.data.parquet import open_parquet
from gte_ray.data.step_plan import ROW_GROUP_ROWS
from gte_ray.errors import RunError

OPEN_PARTS = 64
"""Parts that are kept open, each with its footer: about 0.3 MB, and a descriptor of the 1,024 that are usual."""
DECODED_BYTES = 2**26
"""Decoded row groups that are kept."""


class PartReader:
    """The open parts of a store, and the row groups read last."""

    def __init__(self) -> None:
        self.decoded_rows = 0
        """Rows that were decoded so far."""
        self._files: OrderedDict[str, pq.ParquetFile] = OrderedDict()
        self._groups: OrderedDict[tuple[str, int, tuple[str, ...]], pa.Table] = OrderedDict()
        self._bytes = 0

    def read(self, uri: str, rows: int, first: int, last: int, columns: tuple[str, ...]) -> pa.Table:
        """Rows first <= r < last of a part that has `rows`. Raises RunError, with its name, if it is damaged."""
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
            raise RunError(f"{uri}: has {file.metadata.num_rows} rows where the manifest says {rows}")
        self._files[uri] = file
        if len(self._files) > OPEN_PARTS:
            self._files.popitem(last=False)[1].close(force=True)
        return file
