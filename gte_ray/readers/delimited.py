"""Reads CSV and TSV files. Delimiter and quoting are detected from the first lines."""

import csv
import io
import re
from collections.abc import Iterator
from itertools import chain, dropwhile, islice
from typing import Any, NamedTuple

from gte_ray.errors import RunError
from gte_ray.readers.columns import has_known, shown
from gte_ray.readers.layouts import RowReader, read_rows
from gte_ray.readers.reading import Reading, check_names
from gte_ray.readers.values import NOT_A_PAIR, Item

HEAD_LINES = 1_000
"""Lines from which the dialect is detected."""
DELIMITERS = (",", "\t", ";", "|")
LARGEST_FIELD = 2**28
"""Maximum characters of a field; in a longer one, a quote is assumed not to be closed."""


_BACKSLASH = re.compile(r'\\(["\\]?)')


def _doubled(backslash: re.Match[str]) -> str:
    """Keeps a backslash before a quote or another backslash; doubles any other, as it is literal."""
    return backslash[0] if backslash[1] else "\\\\"


class Dialect(NamedTuple):
    """How fields are delimited and quoted."""

    delimiter: str
    quoted: bool = True
    """Whether quotes enclose fields; otherwise they are ordinary characters."""
    escaped: bool = False
    """Whether a backslash escapes a quote inside a quoted field; otherwise the quote is doubled."""
    quote: str = '"'
    spaced: bool = False
    """Whether a space follows each delimiter."""

    def reader(self, lines: Iterator[str]) -> Iterator[list[str]]:
        """Yields rows as lists of fields. Raises csv.Error for a quote that is neither doubled nor closed."""
        csv.field_size_limit(LARGEST_FIELD)
        if not self.quoted:
            return (line.rstrip("\r\n").split(self.delimiter) for line in lines if line.strip("\r\n"))
        return csv.reader(
            (_BACKSLASH.sub(_doubled, line) for line in lines) if self.escaped else lines,
            delimiter=self.delimiter,
            quotechar=self.quote,
            doublequote=not self.escaped,
            escapechar="\\" if self.escaped else None,
            skipinitialspace=self.spaced,
            strict=True,
        )


def delimited_rows(text: io.TextIOWrapper, delimiter: str, reading: Reading, uri: str) -> Iterator[Item]:
    """Yields the pairs of a file. `delimiter` is the one that its suffix implies.

    Raises RunError if the header does not determine the columns, or if a quote is not closed.
    """
    lines = iter(text)
    head = list(islice(lines, HEAD_LINES))
    complete = len(head) < HEAD_LINES
    read = len(head)
    head = list(dropwhile(lambda line: not line.strip("\ufeff \t\r\n"), head))
    # Each of several concatenated files has a byte order mark.
    head[:1] = [line.lstrip("\ufeff") for line in head[:1]]
    if head and head[0][:4].lower() == "sep=" and len(head[0].rstrip("\r\n")) == 5:  # as Excel writes it
        delimiter = head.pop(0)[4]
    if not head:
        return
    if not reading.delimiter and reading.columns:
        delimiter = _delimiter_of_columns(head, delimiter, len(reading.columns))
    elif not reading.delimiter:
        delimiter = _delimiter(head[0], delimiter, reading.named)
    dialect = _dialect(head, reading.delimiter or delimiter, complete)
    counted = _Counted(chain(head, lines), read - len(head))
    rows = dialect.reader(counted)
    try:
        header = list(reading.columns) or next(rows, [])
        _refuse_foreign_bytes(header, uri)
        if reading.shapes:
            check_names(header, reading.columns_of(header), uri)
        else:
            RowReader(reading.named, uri).choose(header, frozenset())  # refused also where there are no rows
        yield from read_rows(_values(rows, header), reading, uri)
    except csv.Error as error:
        raise RunError(
            f"{uri}: line {counted.number} cannot be read ({error}); inside quotes, a quote is written twice, and a "
            "field that begins with one ends with one"
        ) from error


def _values(reader: Iterator[list[str]], header: list[str]) -> Iterator[Any]:
    for row in reader:
        if len(row) == len(header):
            yield dict(zip(header, row, strict=True))
        elif row:
            yield NOT_A_PAIR.of(row)


class _Counted:
    """Iterates over lines and keeps the number of the last one."""

    def __init__(self, lines: Iterator[str], before: int = 0):
        self.lines = lines
        self.number = before

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self.lines)
        self.number += 1
        return line


def _dialect(head: list[str], delimiter: str, complete: bool) -> Dialect:
    """The dialect of a file with the first lines `head`. `complete` means that there are no others."""
    if delimiter == "\t" and not _is_quoted(head, complete):
        # In most TSV files a quote is an ordinary character: read as quoting, it could swallow many lines.
        return Dialect(delimiter, quoted=False)
    spaced = head[0].count(f"{delimiter} ") == head[0].count(delimiter) or (
        any(f'{delimiter} "' in line for line in head) and not any(f'{delimiter}"' in line for line in head)
    )
    single = _in_single_quotes(head[0]) or (len(head) > 1 and all(map(_in_single_quotes, head[1:])))
    plain = Dialect(delimiter, quote="'" if single else '"', spaced=spaced)
    escaped = plain._replace(escaped=True)
    if not any(f"\\{plain.quote}" in line for line in head) or _rows(plain, head, complete) is not None:
        return plain  # without a backslash before a quote nearly anything can be read as escaped, and wrongly
    return escaped if _rows(escaped, head, complete) else plain


def _delimiter(header: str, usual: str, columns: tuple[str, str] | None) -> str:
    """The delimiter that splits `header` into `columns`, or into known names if `columns` is None.

    Falls back to `usual`, or to the most frequent delimiter if the header has others but not `usual`.
    """
    others = [delimiter for delimiter in DELIMITERS if delimiter != usual and delimiter in header]
    for delimiter in [usual, *others]:
        rows = _rows(Dialect(delimiter, spaced=True), [header], complete=True)
        names = rows[0] if rows else []
        if set(columns) <= set(names) if columns else has_known(names):
            return delimiter
    return usual if usual in header or not others else max(others, key=header.count)


def _delimiter_of_columns(head: list[str], usual: str, count: int) -> str:
    """The delimiter that splits most of the first lines into `count` fields; `usual` if none does."""
    others = [delimiter for delimiter in DELIMITERS if delimiter != usual]
    for delimiter in [usual, *others]:
        rows = _rows(Dialect(delimiter, quoted=delimiter != "\t", spaced=True), head, complete=False) or []
        if 2 * sum(len(row) == count for row in rows) > len(rows):
            return delimiter
    return usual


def _in_single_quotes(line: str) -> bool:
    return len(line.strip()) > 2 and line.strip()[0] == line.strip()[-1] == "'"


def _is_quoted(head: list[str], complete: bool) -> bool:
    """Whether quotes enclose fields in a TSV file: around all names, or around a field that needs them."""
    rows = _rows(Dialect("\t"), head, complete)
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        return False
    names = head[0].rstrip("\r\n").split("\t")
    needed = any("\t" in field or "\n" in field or '"' in field for row in rows for field in row)
    return needed or all(len(name) > 1 and name[0] == name[-1] == '"' for name in names)


def _rows(dialect: Dialect, head: list[str], complete: bool) -> list[list[str]] | None:
    """The rows of `head`, of which the last may be cut off. Returns None if they do not fit the dialect."""
    lines, rows = _Counted(iter(head)), []
    try:
        for row in dialect.reader(lines):
            rows.append(row)
    except csv.Error:
        if complete or lines.number < len(head):
            return None
    return [row for row in rows if row]


def _refuse_foreign_bytes(header: list[str], uri: str) -> None:
    try:
        "".join(header).encode()
    except UnicodeEncodeError:
        raise RunError(
            f"{uri}: the names of its columns are not UTF-8 ({shown(header)}); convert it, as by iconv"
        ) from None
