"""Layouts: which texts of a row are the query, the documents and the negatives.

The first rows of a file together decide which columns are read and whether documents are lists. A row that
does not fit is dropped and counted; it never stops the reading.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from gte_ray.errors import RunError
from gte_ray.readers.columns import Columns, choose_columns, is_verdict, shown
from gte_ray.readers.reading import FILE, FOLDER, Reading, Shaper, check_names
from gte_ray.readers.values import (
    JUDGED,
    NOT_A_PAIR,
    Dropped,
    Item,
    Unused,
    characters,
    list_pair,
    listed,
    pairs_of,
    set_pairs,
    without_instruction,
)

HEAD_ROWS = 1_000
"""Number of first rows that decide the layout of a file."""
HEAD_CHARACTERS = 2**24
"""Maximum characters of these rows; beyond it, fewer rows decide."""
MOST_UNUSED = 1_000
"""Maximum number of unread columns of a file that are counted."""
MEDI = ("query", "pos")
"""Columns of [instruction, text] in MEDI."""
_SEPARATOR = "[SEP]"
"""Separates instruction and question in BERRI."""
INSTRUCTION = "instruction"
"""The name under which instructions are counted as unused."""
_NUMBER = re.compile(r"\s*[-+]?\d+(\.\d+)?\s*")
_PRINTED_LIST = re.compile(r"\s*\[\s*((['\"]).*\2)?\s*\]\s*", re.DOTALL)


def head_of(values: Iterator[Any]) -> list[Any]:
    """Takes the first values of a file, which decide its layout."""
    head, size = [], 0
    for value in values:
        head.append(value)
        size += characters(value)
        if len(head) == HEAD_ROWS or size > HEAD_CHARACTERS:
            break
    return head


def read_rows(
    values: Iterator[Any], reading: Reading, uri: str, head: Sequence[Any] | None = None
) -> Iterator[Item]:
    """Yields the pairs of the rows of a file as `reading` says. `head` is the beginning of the file of a piece."""
    if not reading.shapes:
        yield from RowReader(reading.named, uri).read(values, head)
        return
    shaper = Shaper(reading, uri)
    if head is None:
        head = head_of(values)
        values = chain(head, values)
    rows = list(shaper.expanded(head))
    shaper.note_missing(rows)
    if reading.query:
        _check_fields(rows, reading, uri)
        yield from shaper.pairs(shaper.expanded(values))
        yield shaper.left_over()
    else:
        # The columns are chosen by all rows at the beginning, so that they do not depend on what is left out.
        first = list(shaper.filtered(rows, everything=True))
        yield from RowReader(None, uri).read(shaper.filtered(shaper.expanded(values)), first)


def _check_fields(head: list[Any], reading: Reading, uri: str) -> None:
    """Raises RunError if no row at the beginning of a file has the column that a field begins with."""
    objects = [row for row in head if isinstance(row, dict)]
    names = list(dict.fromkeys(name for row in objects for name in row if name not in (FILE, FOLDER)))
    if objects:
        check_names(names, Reading(reading.query, reading.document).columns_of(names), uri)


class RowReader:
    """Turns the rows of one file into pairs."""

    def __init__(self, given: tuple[str, str] | None, uri: str):
        self.given = given
        self.uri = uri
        self.columns: Columns | None = None
        self.lists = False
        """Whether documents come in lists."""
        self.layout = ""
        """Name of the layout."""
        self.rows: Counter[tuple[str, ...]] = Counter()
        """Number of rows by the names of their columns."""
        self.judged: set[tuple[str, ...]] = set()
        """Column names of the rows that have a column which may mark them as not a pair."""
        self.unused: Counter[str] = Counter()

    def read(self, values: Iterator[Any], head: Sequence[Any] | None = None) -> Iterator[Item]:
        """Yields the pairs of JSON values: objects, lists, or values that were already dropped.

        `head` is the beginning of the file where `values` are those of a piece of it. Raises RunError if the
        objects among the first values do not determine which columns to read.
        """
        if head is None:
            head = head_of(values)
            values = chain(head, values)
        objects = [value for value in head if isinstance(value, dict)]
        if objects and self.columns is None:
            try:
                self._decide(objects)
            except RunError:
                if self.given or not any(isinstance(value, list) for value in head):
                    raise
        if objects and self.columns is not None and not self.given:
            self._refuse_other_values(objects)
        for value in values:
            if isinstance(value, dict) and self.columns is not None:
                names = tuple(value)
                if names not in self.rows:
                    self._meet(names)
                self.rows[names] += 1
                if names in self.judged:
                    yield JUDGED.of(value)
                else:
                    yield from self._pairs(value)
            elif isinstance(value, list):
                yield list_pair(value)
            else:
                yield value if isinstance(value, Dropped) else NOT_A_PAIR.of(value)
        self._count()
        yield Unused(dict(self.unused))

    def choose(
        self, names: Sequence[str], lists: frozenset[str], rows: Mapping[tuple[str, ...], int] | None = None
    ) -> Columns:
        """Chooses the columns to read among `names`. `lists` are the columns that hold lists.

        `rows` counts the rows by the names of their columns; without it, all rows have all columns.
        """
        self.columns = choose_columns(names, rows or {tuple(names): 1}, self.given, lists, self.uri)
        self.lists = self.columns.document in lists
        names = shown(filter(None, self.columns.texts[: 3 if self.lists else 2]), quote="")
        self.layout = f"{{{names}}}" if self.lists or not self.columns.document else names
        return self.columns

    def _decide(self, objects: list[dict[str, Any]]) -> None:
        types: defaultdict[str, Counter[type]] = defaultdict(Counter)
        for value in objects:
            for name, item in value.items():
                types[name][type(item)] += 1
        rows = Counter(tuple(name for name, item in value.items() if item is not None) for value in objects)
        lists = frozenset(name for name, counts in types.items() if counts[list] >= max(counts[str], 1))
        self.choose(list(types), lists, rows)

    def _refuse_other_values(self, objects: list[dict[str, Any]]) -> None:
        """Raises RunError if all texts of a column are numbers, or lists as Python prints them."""
        assert self.columns is not None
        for name in (self.columns.query, self.columns.document):
            texts = [
                value[name] for value in objects if isinstance(value.get(name), str) and value[name].strip()
            ]
            for kind, pattern in (
                ("numbers alone", _NUMBER),
                ("lists that are written as texts", _PRINTED_LIST),
            ):
                if texts and all(map(pattern.fullmatch, texts)):
                    raise RunError(
                        f"{self.uri}: the column {shown([name])} holds {kind}, such as {shown(texts[:1])}; name columns "
                        "of texts as NAME=GLOB:TASK:QUERY_COLUMN,DOCUMENT_COLUMN"
                    )

    def _meet(self, names: tuple[str, ...]) -> None:
        """Handles rows with new columns.

        Adds their hard negatives and scores, and notes columns that may mark these rows as not a pair.
        """
        assert self.columns is not None
        if len(self.rows) > MOST_UNUSED:
            self._count()
        new = [name for name in names if name not in self.columns.names]
        self.columns = self.columns.with_more(new)
        if not self.given and any(map(is_verdict, new)):
            self.judged.add(names)

    def _pairs(self, value: dict[str, Any]) -> Sequence[Item]:
        """The pairs of one row, or the reason to drop it."""
        assert self.columns is not None
        columns = self.columns
        query, document = value.get(columns.query), value.get(columns.document)
        if isinstance(query, list) and (columns.query, columns.document) == MEDI:
            return self._instructed(query, document, value)
        if not columns.document:
            return set_pairs(query)
        negatives = [text for name in columns.negatives for text in self._texts(value, name)]
        if not self.lists:
            return pairs_of(query, (document,), negatives, self.layout, scores=columns.row_scores(value))
        if not isinstance(document, list) or not document:
            return (NOT_A_PAIR.of(value),)
        if columns.document == "positive_ctxs" and isinstance(query, str) and _SEPARATOR in query:
            query = query.split(_SEPARATOR, 1)[1].strip()
            self.unused[INSTRUCTION] += 1
        texts = self._texts(value, columns.document)
        return pairs_of(query, texts, negatives, self.layout, scores=columns.row_scores(value))

    def _instructed(self, query: list[Any], document: Any, value: dict[str, Any]) -> Sequence[Item]:
        """Pairs of a MEDI (Su et al., 2023) or MEDI 2 row. Texts are [instruction, text], or lists of it."""
        assert self.columns is not None
        # If the query has no instruction, the other columns are lists of plain texts.
        texts_of = listed if len(query) == 1 else without_instruction
        queries, documents = without_instruction(query), texts_of(document)
        negatives = [text for name in self.columns.negatives for text in texts_of(value.get(name))]
        if len(queries) != 1 or not documents:
            return (NOT_A_PAIR.of(value),)
        self.unused[INSTRUCTION] += len(query) == 2
        layout = "{[instruction, query], [instruction, pos], [instruction, neg]}"
        return pairs_of(queries[0], documents, negatives, layout, scores=self.columns.row_scores(value))

    def _texts(self, value: dict[str, Any], name: str) -> list[Any]:
        """A column's texts: one, a list, or objects with a `text`, whose other fields count as unused."""
        content = value.get(name)
        texts = []
        for item in listed(content):
            if isinstance(item, dict) and "text" in item:
                for field in item:
                    if field != "text":
                        self._add_unused(f"{name}.{field}", 1)
                item = item["text"]
            texts.append(item)
        return texts

    def _count(self) -> None:
        """Counts the unread columns of all rows since the last call."""
        assert self.columns is not None or not self.rows
        for names, count in self.rows.items():
            for name in names:
                if name not in self.columns.names:  # type: ignore[union-attr]
                    self._add_unused(name, count)
        self.rows.clear()

    def _add_unused(self, name: str, count: int) -> None:
        if name in self.unused or len(self.unused) < MOST_UNUSED:
            self.unused[name] += count
