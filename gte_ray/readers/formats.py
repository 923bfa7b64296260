"""Reads the rows of Parquet, JSON, CSV, TSV, XML and WARC files, whole or in pieces. Text files may be compressed."""

import io
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from tempfile import TemporaryFile
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gte_ray.errors import RunError
from gte_ray.readers.archives import ARCHIVES, members, refuse_unknown_members
from gte_ray.readers.compressed import COMPRESSED, ERRORS, suffix_of
from gte_ray.readers.delimited import delimited_rows
from gte_ray.readers.json_rows import ARRAY, array_values, line_values, whole_values
from gte_ray.readers.layouts import RowReader, head_of, read_rows
from gte_ray.readers.reading import MOST_UNUSED, Reading, check_names
from gte_ray.readers.text_file import TextFile
from gte_ray.readers.values import Item, Unused
from gte_ray.readers.warc_rows import warc_values
from gte_ray.readers.xml_rows import xml_values
from gte_ray.runtime import storage
from gte_ray.runtime.parquet import open_parquet

SUFFIXES = (".parquet", ".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".xml", ".warc", ".wet")
WEB = (".warc", ".wet")
"""Endings of the files of web crawls: of pages, and of their texts."""
BATCH_ROWS = 512
"""Rows of a Parquet file held in memory at a time, besides its compressed row group."""


@dataclass(frozen=True)
class Piece:
    """A file, or the `index`-th of `count` pieces of a large one."""

    uri: str
    index: int = 0
    count: int = 1


def is_compressed(uri: str) -> bool:
    """Whether a file holds several times its own size, by its name."""
    return suffix_of(storage.name(uri), (".parquet", *COMPRESSED, *ARCHIVES)) != ""


def may_be_split(uri: str, reading: Reading) -> bool:
    """Whether pieces of a file can be read each by itself, by its name.

    Parquet can, by row groups, and plain JSON Lines, by byte ranges. In a CSV file a line may begin inside a
    quoted text, and what is compressed has to be read from its beginning.
    """
    kind = kind_of(uri, reading)
    return kind == "parquet" or (kind == "json" and not is_compressed(uri))


def file_kind(uri: str) -> str:
    """The format by file name: `parquet`, `json`, `csv`, `tsv`, `xml`, `warc` or `archive`; empty for any other."""
    name = storage.name(uri).lower()
    if suffix_of(name, ARCHIVES):
        return "archive"
    bare = name.removesuffix(suffix_of(name, COMPRESSED))
    if name.endswith(".parquet"):
        return "parquet"
    if bare.endswith((".jsonl", ".json", ".ndjson")):
        return "json"
    if bare.endswith(WEB):
        return "warc"
    return next((kind for kind in ("csv", "tsv", "xml") if bare.endswith("." + kind)), "")


def kind_of(uri: str, reading: Reading) -> str:
    """The format as the source's settings say, or by file name where they do not."""
    kind = file_kind(uri)
    return kind if kind == "archive" or not reading.format else reading.format


def read_items(piece: Piece, reading: Reading) -> Iterator[Item]:
    """Yields the pairs of a piece one by one. Raises RunError if it cannot be read to its end.

    All pieces of a file together give its pairs, each once. Columns are chosen by the beginning of the file.
    """
    uri = piece.uri
    try:
        if kind_of(uri, reading) == "parquet":
            with open_parquet(uri) as file:
                yield from _parquet_rows(file, piece, reading)
        elif kind_of(uri, reading) == "archive":
            yield from _archive_rows(uri, reading)
        else:
            yield from _text_rows(piece, reading)
    except (*ERRORS, UnicodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(f"{uri}: cannot be read to its end ({reason})") from error


def _archive_rows(uri: str, reading: Reading) -> Iterator[Item]:
    """The pairs of all members of known formats, one after another, each with its own columns."""
    others = []
    read = 0
    for name, content in members(uri, lambda name: _is_wanted(name, reading)):
        piece = Piece(f"{uri}/{name}")
        if content is None:
            others.append(name)
            continue
        read += 1
        if kind_of(name, reading) == "parquet":
            with TemporaryFile() as copy:  # it is read from its end
                shutil.copyfileobj(content, copy)
                yield from _parquet_rows(pq.ParquetFile(copy), piece, reading)
        else:
            yield from _text_rows(piece, reading, content)
    if not read:
        refuse_unknown_members(uri, others, reading.members or ", ".join(SUFFIXES))
    yield Unused({f"the file {name}": 1 for name in others[:MOST_UNUSED]})


def _is_wanted(name: str, reading: Reading) -> bool:
    """Whether a member can be read and its name matches, in whatever folder of the archive it lies."""
    matches = not reading.members or any(
        fnmatchcase(path, reading.members) for path in (name, os.path.basename(name))
    )
    return matches and kind_of(name, reading) not in ("", "archive")


def _text_rows(piece: Piece, reading: Reading, member: io.BufferedReader | None = None) -> Iterator[Item]:
    uri, kind = piece.uri, kind_of(piece.uri, reading)
    file = TextFile(uri, reading.encoding, member)
    if kind == "xml":
        values = xml_values(file.raw, reading.rows, uri, reading.encoding)
        yield from read_rows(values, replace(reading, rows=""), uri)
        return
    if kind == "warc":
        yield from read_rows(warc_values(file.raw, uri), reading, uri)
        return
    with file.text() as text:
        if kind != "json":
            yield from delimited_rows(text, "\t" if kind == "tsv" else ",", reading, uri)
        elif piece.count > 1 and not reading.rows and file.has_lines and not ARRAY.match(file.head):
            first = head_of(line_values(text, uri))
            with file.lines(piece.index, piece.count) as lines:
                yield from read_rows(line_values(lines, uri, piece.index == 0), reading, uri, first)
        elif piece.index == 0:  # the first piece of what cannot be split is all of it
            read_values = array_values if ARRAY.match(file.head) else line_values
            yield from read_rows((whole_values if reading.rows else read_values)(text, uri), reading, uri)


def _parquet_rows(file: pq.ParquetFile, piece: Piece, reading: Reading) -> Iterator[Item]:
    uri = piece.uri
    first, last = (file.num_row_groups * k // piece.count for k in (piece.index, piece.index + 1))
    groups = range(first, last)
    if reading.shapes:
        yield from _shaped_parquet(file, reading, uri, groups)
        return
    schema, rows = file.schema_arrow, RowReader(reading.named, uri)
    lists = frozenset(field.name for field in schema if _is_list(field.type))
    chosen = rows.choose(schema.names, lists)
    for name in (chosen.query, chosen.document):
        if name and not _may_hold_texts(schema.field(name).type):
            kind = schema.field(name).type
            raise RunError(f"{uri}: the column {name!r} holds {kind}, not texts; name other columns")
    # The first piece looks at the beginning of the file, whose values may not be texts.
    yield from rows.read(_parquet_values(file, chosen.names, groups), [] if piece.index else None)
    count = sum(file.metadata.row_group(group).num_rows for group in groups)
    yield Unused({name: count for name in schema.names if name not in chosen.names and count})


def _shaped_parquet(file: pq.ParquetFile, reading: Reading, uri: str, groups: range) -> Iterator[Item]:
    names = file.schema_arrow.names
    wanted = reading.columns_of(names)
    read = wanted if reading.query and wanted else names
    check_names(names, list(dict.fromkeys([*wanted, *read])), uri)
    first = head_of(_parquet_values(file, read, range(file.num_row_groups)))
    yield from read_rows(_parquet_values(file, read, groups), reading, uri, first)
    count = sum(file.metadata.row_group(group).num_rows for group in groups)
    yield Unused({name: count for name in names if name not in read and count})


def _parquet_values(file: pq.ParquetFile, names: Sequence[str], groups: range) -> Iterator[dict[str, Any]]:
    if not groups:
        return
    for batch in file.iter_batches(BATCH_ROWS, list(groups), list(names), use_threads=False):
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
