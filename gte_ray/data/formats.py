"""Files of each format as rows: Parquet, JSON Lines, CSV and TSV, text files also compressed."""

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from gte_ray import storage
from gte_ray.data.layouts import (
    LIST_COLUMNS,
    NO_JSON,
    NO_PAIR,
    Item,
    Rows,
    choose_columns,
    has_lists,
    is_negative,
)
from gte_ray.data.store import open_parquet
from gte_ray.errors import RunError

SUFFIXES = (".parquet", ".jsonl", ".json", ".ndjson", ".csv", ".tsv")
ARRAY_CHARACTERS = 2**20
"""Characters of a JSON array that are read at a time."""
LARGEST_ROW = 2**26
"""Characters after which what should be one row of a JSON array is taken to be broken."""
_ARRAY = re.compile(rb"(\xef\xbb\xbf)?\s*\[\s*\{")
"""How a file that is one JSON array of objects begins."""
_BETWEEN = re.compile(r"[\s,]*")
_HEAD_BYTES = 256
BATCH_ROWS = 512
"""Rows of a Parquet file that are in memory at a time, besides its compressed row group."""


def file_kind(uri: str) -> str:
    """`parquet`, `json`, `csv`, `tsv`, or empty for a file that is none of them."""
    name = storage.name(uri).lower()
    bare = name.removesuffix(".gz").removesuffix(".zst")
    if name.endswith(".parquet"):
        return "parquet"
    if bare.endswith((".jsonl", ".json", ".ndjson")):
        return "json"
    return next((kind for kind in ("csv", "tsv") if bare.endswith("." + kind)), "")


def read_items(uri: str, columns: tuple[str, str] | None) -> Iterator[Item]:
    """The pairs of a file one by one; RunError where it cannot be read to its end."""
    kind = file_kind(uri)
    try:
        if kind == "parquet":
            yield from _parquet_rows(uri, columns)
            return
        filesystem, path = storage.resolve(uri)
        stream = filesystem.open_input_stream(path, compression="detect")
        # Bytes that are no UTF-8 become lone surrogates, which the check for text finds and counts.
        buffered = io.BufferedReader(stream, 2**20)
        if kind == "json" and _ARRAY.match(buffered.peek(_HEAD_BYTES)):
            kind = "json array"
        reader = {"json": _json_rows, "json array": _array_rows}.get(kind, _csv_rows)
        with io.TextIOWrapper(buffered, "utf-8-sig", errors="surrogateescape", newline="") as text:
            yield from reader(text, columns, uri)
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        raise RunError(f"{uri}: cannot be read to its end ({str(error).splitlines()[0]})") from error


def _parquet_rows(uri: str, columns: tuple[str, str] | None) -> Iterator[Item]:
    with open_parquet(uri) as file:
        names = file.schema_arrow.names
        if columns is None and has_lists(names):
            used = [name for name in LIST_COLUMNS if name in names]
        else:
            used = list(columns := choose_columns(names, columns, uri))
        used += [name for name in names if is_negative(name) and name not in used]
        rows = Rows(columns, uri)
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=used, use_threads=False):
            values = [_values(batch.column(name)) for name in used]
            for row in zip(*values, strict=True):
                yield from rows.of_object(dict(zip(used, row, strict=True)))


def _values(column: pa.Array) -> list[Any]:
    """Python values; bytes that are no UTF-8 become lone surrogates."""
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:
        bare = pa.large_binary()
        values = column.cast(pa.list_(bare) if pa.types.is_nested(column.type) else bare).to_pylist()
    return [_text(value) for value in values]


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape")
    return [_text(item) for item in value] if isinstance(value, list) else value


def _array_rows(text: io.TextIOWrapper, columns: tuple[str, str] | None, uri: str) -> Iterator[Item]:
    rows = Rows(columns, uri)
    for value in _array_items(text, uri):
        if isinstance(value, dict):
            yield from rows.of_object(value)
        else:
            yield NO_PAIR


def _array_items(text: io.TextIOWrapper, uri: str) -> Iterator[Any]:
    """The items of a JSON array, which is never in memory as a whole."""
    decoder, buffer = json.JSONDecoder(), text.read(ARRAY_CHARACTERS)
    place = buffer.index("[") + 1
    while True:
        place += len(_BETWEEN.match(buffer, place)[0])  # type: ignore[index]
        if buffer.startswith("]", place):
            return
        try:
            value, place = decoder.raw_decode(buffer, place)
        except ValueError as error:
            added = text.read(ARRAY_CHARACTERS) if len(buffer) - place < LARGEST_ROW else ""
            if not added:
                raise RunError(f"{uri}: is a JSON array that is cut off or broken ({error})") from error
            buffer, place = buffer[place:] + added, 0
        else:
            yield value


def _json_rows(lines: io.TextIOWrapper, columns: tuple[str, str] | None, uri: str) -> Iterator[Item]:
    rows, first = Rows(columns, uri), True
    for line in lines:
        line = line.strip()
        if not line:
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = NO_JSON
        of_objects = isinstance(value, list) and any(isinstance(item, dict) for item in value)
        if first and (line in ("[", "{") or of_objects):
            raise RunError(f"{uri}: is one JSON value; allowed is JSON Lines, one row in each line")
        first = False
        if value is NO_JSON:
            yield NO_JSON
        elif isinstance(value, list):
            yield rows.of_list(value)
        elif isinstance(value, dict):
            yield from rows.of_object(value)
        else:
            yield NO_PAIR


def _csv_rows(text: io.TextIOWrapper, columns: tuple[str, str] | None, uri: str) -> Iterator[Item]:
    csv.field_size_limit(2**31 - 1)
    # Tab-separated files carry quotes as they are: read as quoting, one of them could swallow many lines.
    style: dict[str, Any] = {"delimiter": ","}
    if file_kind(uri) == "tsv":
        style = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    reader = csv.reader(text, **style)
    try:
        header = next(reader, None)
        if header is None:
            return
        rows = Rows(choose_columns(header, columns, uri), uri)
        for row in reader:
            if len(row) == len(header):
                yield from rows.of_object(dict(zip(header, row, strict=True)))
            elif row:
                yield NO_PAIR
    except csv.Error as error:
        raise RunError(f"{uri}: line {reader.line_num} cannot be read ({error})") from error
