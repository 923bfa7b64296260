"""Reads the rows of Parquet, JSON, CSV and TSV files. Text files may be compressed."""

import codecs
import io
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gte_ray.data.delimited import delimited_rows
from gte_ray.data.json_rows import ARRAY, array_values, line_values
from gte_ray.data.layouts import RowReader
from gte_ray.data.parquet import LFS_POINTER, open_parquet
from gte_ray.data.values import Item, Unused
from gte_ray.errors import RunError
from gte_ray.runtime import storage

SUFFIXES = (".parquet", ".jsonl", ".json", ".ndjson", ".csv", ".tsv")
BATCH_ROWS = 512
"""Rows of a Parquet file held in memory at a time, besides its compressed row group."""
_COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
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


def file_kind(uri: str) -> str:
    """The format by file name: `parquet`, `json`, `csv` or `tsv`; empty for any other."""
    name = storage.name(uri).lower()
    bare = name.removesuffix(".gz").removesuffix(".zst")
    if name.endswith(".parquet"):
        return "parquet"
    if bare.endswith((".jsonl", ".json", ".ndjson")):
        return "json"
    return next((kind for kind in ("csv", "tsv") if bare.endswith("." + kind)), "")


def read_items(uri: str, columns: tuple[str, str] | None) -> Iterator[Item]:
    """Yields the pairs of a file one by one. Raises RunError if it cannot be read to its end."""
    kind = file_kind(uri)
    try:
        if kind == "parquet":
            yield from _parquet_rows(uri, columns)
            return
        raw = _decompressed(uri)
        encoding = _encoding(raw, uri)
        head = raw.peek(_HEAD_BYTES)[:_HEAD_BYTES].decode(encoding, "ignore")
        # A lone carriage return ends a line only in files without other line ends.
        newline = "\n" if b"\n" in raw.peek(_HEAD_BYTES) else ""
        with io.TextIOWrapper(raw, encoding, errors="surrogateescape", newline=newline) as text:
            if kind != "json":
                yield from delimited_rows(text, "\t" if kind == "tsv" else ",", columns, uri)
            elif ARRAY.match(head):
                yield from RowReader(columns, uri).read(array_values(text, uri))
            else:
                yield from RowReader(columns, uri).read(line_values(text, uri))
    except (pa.ArrowInvalid, OSError, EOFError, UnicodeError) as error:
        raise RunError(f"{uri}: cannot be read to its end ({str(error).splitlines()[0]})") from error


def _decompressed(uri: str) -> io.BufferedReader:
    """The bytes of a text file, decompressed if its name or its first bytes call for it."""
    filesystem, path = storage.resolve(uri)
    raw = io.BufferedReader(filesystem.open_input_stream(path, compression=None), _BUFFER_BYTES)
    head = raw.peek(_HEAD_BYTES)
    codec = next(
        (codec for ending, codec in _COMPRESSED.items() if storage.name(uri).lower().endswith(ending)), None
    )
    codec = codec or next((codec for first, codec in _BEGINNINGS.items() if head.startswith(first)), None)
    if codec:
        packed = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), codec)
        raw = io.BufferedReader(packed, _BUFFER_BYTES)
        head = raw.peek(_HEAD_BYTES)
    for first, reason in _FOREIGN.items():
        if head.startswith(first):
            raise RunError(f"{uri}: {reason}")
    return raw


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
    return "utf-8-sig"


def _parquet_rows(uri: str, columns: tuple[str, str] | None) -> Iterator[Item]:
    with open_parquet(uri) as file:
        schema, rows = file.schema_arrow, RowReader(columns, uri)
        lists = frozenset(field.name for field in schema if _is_list(field.type))
        chosen = rows.choose(schema.names, lists)
        for name in (chosen.query, chosen.document):
            if name and not _may_hold_texts(schema.field(name).type):
                kind = schema.field(name).type
                raise RunError(f"{uri}: the column {name!r} holds {kind}, not texts; name other columns")
        yield from rows.read(_parquet_values(file, chosen.names))
        yield Unused({name: file.metadata.num_rows for name in schema.names if name not in chosen.names})


def _parquet_values(file: pq.ParquetFile, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(names), use_threads=False):
        for row in zip(*(_values(batch.column(name)) for name in names), strict=True):
            yield dict(zip(names, row, strict=True))


def _is_list(kind: pa.DataType) -> bool:
    t = pa.types
    return any(
        f(kind)
        for f in (t.is_list, t.is_large_list, t.is_fixed_size_list, t.is_list_view, t.is_large_list_view)
    )


def _may_hold_texts(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.DictionaryType):
        return _may_hold_texts(kind.value_type)
    return not (pa.types.is_primitive(kind) or pa.types.is_decimal(kind))


def _values(column: pa.Array) -> list[Any]:
    """Python values. Invalid UTF-8 becomes lone surrogates, which `reason_to_drop` detects."""
    try:
        return [_text(value) for value in column.to_pylist()]
    except UnicodeDecodeError:
        return [_python(value) for value in column]


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape")
    if isinstance(value, list):
        return [_text(item) for item in value]
    return {name: _text(item) for name, item in value.items()} if isinstance(value, dict) else value


def _python(value: pa.Scalar) -> Any:
    """Like `as_py`, but invalid UTF-8 does not raise an error."""
    if not value.is_valid:
        return None
    if isinstance(value, pa.DictionaryScalar):
        return _python(value.value)
    if isinstance(value, pa.StructScalar):
        return {name: _python(item) for name, item in value.items()}
    if _is_list(value.type):
        return [_python(item) for item in value.values]
    if hasattr(value, "as_buffer"):
        return value.as_buffer().to_pybytes().decode(errors="surrogateescape")
    return value.as_py()
