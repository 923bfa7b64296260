"""Readers: files of any layout in use to tables of (query, document, negatives)."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa

from gte_ray import storage
from gte_ray.data.store import TASKS, open_parquet
from gte_ray.errors import RunError, UsageError

KNOWN_COLUMNS = (
    ("query", "document"),
    ("query", "passage"),
    ("query", "positive"),
    ("anchor", "positive"),
    ("question", "answer"),
    ("title", "body"),
    ("title", "abstract"),
    ("title", "text"),
    ("title", "content"),
    ("summary", "content"),
    ("post", "comment"),
    ("entity", "description"),
    ("citation", "reference"),
    ("text", "code"),
    ("docstring", "code"),
    ("sentence1", "sentence2"),
)
"""Pairs of column names that are taken without being named; the first that is there counts."""
SUFFIXES = (".parquet", ".jsonl", ".json", ".ndjson", ".csv", ".tsv")
CHUNK_BYTES = 32 * 2**20
"""Text that a reader gathers into one table."""

_SOURCE = re.compile(
    r"(?P<name>[\w.-]+)=(?P<glob>.+?):(?P<task>[^:/,]+)(?::(?P<query>[^:,]+),(?P<document>[^:,]+))?"
)

Triple = tuple[Any, Any, Sequence[Any]]
"""Query, document, negatives, before they are known to be texts."""


@dataclass(frozen=True)
class SourceSpec:
    """A source as a person names it."""

    name: str
    glob: str
    task: str
    query: str = ""
    """Column of the queries; empty to tell by the names that are there."""
    document: str = ""

    @property
    def columns(self) -> tuple[str, str] | None:
        return (self.query, self.document) if self.query else None

    def files(self) -> list[str]:
        """The files of the source; RunError where there are none."""
        files = [uri for uri in storage.glob(self.glob) if file_kind(uri)]
        if not files:
            raise RunError(
                f"source {self.name}: no file matches {self.glob}; allowed are {', '.join(SUFFIXES)}, "
                "text files also with .gz or .zst"
            )
        return files


@dataclass(frozen=True)
class Chunk:
    """Some of a source's pairs, and what was dropped on the way to them."""

    table: pa.Table
    """query, document (large_string), negatives (list of large_string)."""
    dropped: dict[str, int]
    layout: str


def parse_source(text: str) -> SourceSpec:
    """`NAME=GLOB:TASK` or `NAME=GLOB:TASK:QUERY,DOCUMENT`; UsageError where it is not that."""
    match = _SOURCE.fullmatch(text)
    if not match:
        raise UsageError(
            f"--source is {text!r}; allowed is NAME=GLOB:TASK or NAME=GLOB:TASK:QUERY_COLUMN,DOCUMENT_COLUMN"
        )
    if match["task"] not in TASKS:
        raise UsageError(
            f"--source {match['name']}: task is {match['task']!r}; allowed are {', '.join(TASKS)}"
        )
    return SourceSpec(
        match["name"], match["glob"], match["task"], match["query"] or "", match["document"] or ""
    )


def file_kind(uri: str) -> str:
    """`parquet`, `json`, `csv`, `tsv`, or empty for a file that is none of them."""
    name = uri.rsplit("/", 1)[-1].lower()
    bare = name.removesuffix(".gz").removesuffix(".zst")
    if name.endswith(".parquet"):
        return "parquet"
    if bare.endswith((".jsonl", ".json", ".ndjson")):
        return "json"
    return next((kind for kind in ("csv", "tsv") if bare.endswith("." + kind)), "")


def check_file(uri: str, columns: tuple[str, str] | None) -> None:
    """Finds what can be found before all work: a cut-off Parquet file, columns that are not there."""
    if file_kind(uri) == "parquet":
        names = open_parquet(uri).schema_arrow.names
        if "pos" not in names and "set" not in names:
            choose_columns(names, columns, uri)


def choose_columns(names: Sequence[str], given: tuple[str, str] | None, uri: str) -> tuple[str, str]:
    """The query and the document column among `names`; RunError that lists them where it is not clear."""
    if given:
        if not set(given) <= set(names):
            raise RunError(f"{uri}: has no columns {given[0]} and {given[1]}; it has {', '.join(names)}")
        return given
    lower = {name.lower(): name for name in names}
    for query, document in KNOWN_COLUMNS:
        if query in lower and document in lower:
            return lower[query], lower[document]
    if len(names) == 2:
        return names[0], names[1]
    raise RunError(
        f"{uri}: cannot tell queries from documents among the columns {', '.join(names)}; "
        "name them as NAME=GLOB:TASK:QUERY_COLUMN,DOCUMENT_COLUMN"
    )


def read_file(uri: str, columns: tuple[str, str] | None) -> Iterator[Chunk]:
    """The pairs of a file in chunks of bounded size."""
    kind = file_kind(uri)
    if kind == "parquet":
        rows: Iterator[tuple[Triple | str, str]] = _parquet_rows(uri, columns)
    else:
        filesystem, path = storage.resolve(uri)
        stream = filesystem.open_input_stream(path, compression="detect")
        # Bytes that are no UTF-8 become lone surrogates, which the check for text finds and counts.
        buffered = io.BufferedReader(stream, 2**20)
        text = io.TextIOWrapper(buffered, encoding="utf-8", errors="surrogateescape", newline="")
        rows = _json_rows(text, columns, uri) if kind == "json" else _csv_rows(text, columns, uri, kind)
    try:
        yield from _chunks(rows)
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        raise RunError(f"{uri}: cannot be read to its end ({str(error).splitlines()[0]})") from error


def _parquet_rows(uri: str, columns: tuple[str, str] | None) -> Iterator[tuple[Triple | str, str]]:
    file = open_parquet(uri)
    names = file.schema_arrow.names
    for batch in file.iter_batches(batch_size=4_096, use_threads=False):
        if {"query", "pos"} <= set(names) or "set" in names:
            yield from (item for row in batch.to_pylist() for item in _from_object(row, None, uri))
        else:
            query, document = choose_columns(names, columns, uri)
            pairs = zip(batch.column(query).to_pylist(), batch.column(document).to_pylist(), strict=True)
            yield from (((q, d, ()), f"{query}, {document}") for q, d in pairs)


def _json_rows(
    lines: Iterable[str], columns: tuple[str, str] | None, uri: str
) -> Iterator[tuple[Triple | str, str]]:
    for line in lines:
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError:
            yield "not json", ""
            continue
        if isinstance(value, list):
            if len(value) in (2, 3):
                yield (value[0], value[1], value[2:]), "[query, document]"
            else:
                yield "not a pair", ""
        elif isinstance(value, dict):
            yield from _from_object(value, columns, uri)
        else:
            yield "not a pair", ""


def _from_object(
    value: dict[str, Any], columns: tuple[str, str] | None, uri: str
) -> Iterator[tuple[Triple | str, str]]:
    if isinstance(value.get("set"), list):
        texts = value["set"]
        if len(texts) < 2:
            yield "not a pair", ""
        for query, document in pairwise(texts):
            yield (query, document, ()), "{set}"
    elif "query" in value and isinstance(value.get("pos"), list):
        negatives = value.get("neg") or ()
        if not value["pos"]:
            yield "not a pair", ""
        for document in value["pos"]:
            yield (value["query"], document, negatives), "{query, pos, neg}"
    else:
        query, document = choose_columns(list(value), columns, uri)
        negative = value.get("negative")
        yield (value[query], value[document], () if negative is None else (negative,)), f"{query}, {document}"


def _csv_rows(
    text: Iterable[str], columns: tuple[str, str] | None, uri: str, kind: str
) -> Iterator[tuple[Triple | str, str]]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(text, delimiter="\t" if kind == "tsv" else ",")
    header = next(reader, None)
    if header is None:
        return
    query, document = choose_columns(header, columns, uri)
    at_query, at_document = header.index(query), header.index(document)
    for row in reader:
        if len(row) != len(header):
            yield "not a pair", ""
        else:
            yield (row[at_query], row[at_document], ()), f"{query}, {document}"


def _chunks(rows: Iterator[tuple[Triple | str, str]]) -> Iterator[Chunk]:
    queries: list[str] = []
    documents: list[str] = []
    negatives: list[list[str]] = []
    dropped: Counter[str] = Counter()
    size, layout = 0, ""
    for item, found in rows:
        if isinstance(item, str):
            dropped[item] += 1
            continue
        query, document, others = item
        flaw = _text_flaw(query) or _text_flaw(document)
        if flaw:
            dropped[flaw] += 1
            continue
        queries.append(query)
        documents.append(document)
        negatives.append([text for text in others if not _text_flaw(text)])
        size += len(query) + len(document)
        layout = found
        if size > CHUNK_BYTES:
            yield Chunk(_table(queries, documents, negatives), dict(dropped), layout)
            queries, documents, negatives, size = [], [], [], 0
            dropped.clear()
    yield Chunk(_table(queries, documents, negatives), dict(dropped), layout)


def _table(queries: list[str], documents: list[str], negatives: list[list[str]]) -> pa.Table:
    return pa.table(
        {
            "query": pa.array(queries, pa.large_string()),
            "document": pa.array(documents, pa.large_string()),
            "negatives": pa.array(negatives, pa.list_(pa.large_string())),
        }
    )


def _text_flaw(text: Any) -> str:
    """Why `text` cannot be trained on; empty when it can."""
    if text is None:
        return "null"
    if not isinstance(text, str):
        return "not text"
    if not text or text.isspace():
        return "empty"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "not utf-8"
    return ""
