"""Layouts: which texts of a row are the query, the documents and the negatives.

The first rows of a file decide together which columns are read and whether documents are lists. A row that
is different is dropped and counted; no row ends the file.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple

from gte_ray.data.columns import Columns, choose_columns, shown
from gte_ray.errors import RunError

HEAD_ROWS = 1_000
"""Rows that decide about the layout of a file."""
HEAD_CHARACTERS = 2**24
"""Characters after which fewer rows decide."""
MOST_UNUSED = 1_000
"""Columns of a file that are kept account of."""
MEDI = ("query", "pos")
"""Columns that hold [instruction, text] in MEDI."""
_SEPARATOR = "[SEP]"
"""Between instruction and question in BERRI."""
INSTRUCTION = "instruction"
"""What instructions are called among what is not used."""


class Pair(NamedTuple):
    """A row, or a part of it, before its values are known to be texts."""

    query: Any
    document: Any
    negatives: Sequence[Any]
    layout: str


class Dropped(NamedTuple):
    """A row that is no pair."""

    reason: str


class Unused(NamedTuple):
    """Columns of a file that are not read, and in how many of its rows they are."""

    columns: dict[str, int]


Item = Pair | Dropped | Unused
NOT_A_PAIR = Dropped("not a pair")
NOT_JSON = Dropped("not json")
NAME_TWICE = Dropped("a name twice")


class Rows:
    """The pairs of the rows of one file."""

    def __init__(self, given: tuple[str, str] | None, uri: str):
        self.given = given
        self.uri = uri
        self.columns: Columns | None = None
        self.lists = False
        """Whether documents come in lists."""
        self.layout = ""
        """What the layout is called."""
        self.rows: Counter[tuple[str, ...]] = Counter()
        """By the names of their columns."""
        self.unused: Counter[str] = Counter()

    def read(self, values: Iterator[Any]) -> Iterator[Item]:
        """Pairs of JSON values (objects, lists, or what was dropped already), one by one.

        RunError where the objects among the first of them do not tell which columns to read.
        """
        head, characters = [], 0
        for value in values:
            head.append(value)
            characters += _characters(value)
            if len(head) == HEAD_ROWS or characters > HEAD_CHARACTERS:
                break
        objects = [value for value in head if isinstance(value, dict)]
        if objects:
            try:
                self._decide(objects)
            except RunError:
                if self.given or not any(isinstance(value, list) for value in head):
                    raise
        for value in chain(head, values):
            if isinstance(value, dict) and self.columns is not None:
                self.rows[tuple(value)] += 1
                if len(self.rows) > MOST_UNUSED:
                    self._count()
                yield from self.of_object(value)
            elif isinstance(value, list):
                yield _list(value)
            else:
                yield value if isinstance(value, Dropped) else NOT_A_PAIR
        self._count()
        yield Unused(dict(self.unused))

    def choose(
        self, names: Sequence[str], lists: frozenset[str], rows: Mapping[tuple[str, ...], int] | None = None
    ) -> Columns:
        """The columns to read among `names`, of which `lists` hold lists; all rows have them, or as `rows` counts."""
        self.columns = choose_columns(names, rows or {tuple(names): 1}, self.given, lists, self.uri)
        self.lists = self.columns.document in lists
        names = shown(self.columns.names[:3] if self.lists else self.columns.names[:2], quote="")
        self.layout = f"{{{names}}}" if self.lists or not self.columns.document else names
        return self.columns

    def _decide(self, objects: list[dict[str, Any]]) -> None:
        kinds: defaultdict[str, Counter[type]] = defaultdict(Counter)
        for value in objects:
            for name, item in value.items():
                kinds[name][type(item)] += 1
        rows = Counter(tuple(name for name, item in value.items() if item is not None) for value in objects)
        lists = frozenset(name for name, kind in kinds.items() if kind[list] >= max(kind[str], 1))
        self.choose(list(kinds), lists, rows)

    def of_object(self, value: dict[str, Any]) -> Sequence[Item]:
        """The pairs of one row, whose columns were chosen before."""
        assert self.columns is not None
        columns = self.columns
        query, document = value.get(columns.query), value.get(columns.document)
        if isinstance(query, list) and (columns.query, columns.document) == MEDI:
            return self._instructed(query, document, value)
        if not columns.document:
            return _set(query)
        negatives = [text for name in columns.negatives for text in self._texts(value, name)]
        if not self.lists:
            return (Pair(query, document, negatives, self.layout),)
        if not isinstance(document, list) or not document:
            return (NOT_A_PAIR,)
        if columns.document == "positive_ctxs" and isinstance(query, str) and _SEPARATOR in query:
            query = query.split(_SEPARATOR, 1)[1].strip()
            self.unused[INSTRUCTION] += 1
        return [Pair(query, text, negatives, self.layout) for text in self._texts(value, columns.document)]

    def _instructed(self, query: list[Any], document: Any, value: dict[str, Any]) -> Sequence[Item]:
        """A row of MEDI (Su et al., 2023) or MEDI 2: texts come as [instruction, text], or several such lists."""
        assert self.columns is not None
        queries, documents = _without_instruction(query), _without_instruction(document)
        negatives = [
            text for name in self.columns.negatives for text in _without_instruction(value.get(name))
        ]
        if len(queries) != 1 or not documents:
            return (NOT_A_PAIR,)
        self.unused[INSTRUCTION] += len(query) == 2
        layout = "{[instruction, query], [instruction, pos], [instruction, neg]}"
        return [Pair(queries[0], text, negatives, layout) for text in documents]

    def _texts(self, value: dict[str, Any], name: str) -> list[Any]:
        """A column's texts: one, a list, or objects with a `text`, whose other fields are noted as not used."""
        found = value.get(name)
        items = found if isinstance(found, list) else [] if found is None else [found]
        texts = []
        for item in items:
            if isinstance(item, dict) and "text" in item:
                for field in item:
                    if field != "text":
                        self._add_unused(f"{name}.{field}", 1)
                item = item["text"]
            texts.append(item)
        return texts

    def _count(self) -> None:
        """Adds the columns that are not read of all rows since the last call."""
        assert self.columns is not None or not self.rows
        for names, count in self.rows.items():
            for name in names:
                if name not in self.columns.names:  # type: ignore[union-attr]
                    self._add_unused(name, count)
        self.rows.clear()

    def _add_unused(self, name: str, count: int) -> None:
        if name in self.unused or len(self.unused) < MOST_UNUSED:
            self.unused[name] += count


def _list(value: list[Any]) -> Item:
    """`[query, document]` or `[query, document, negative]`; a third value that is no text may be a label."""
    if len(value) == 2 or (len(value) == 3 and isinstance(value[2], str | None)):
        return Pair(value[0], value[1], value[2:], "[query, document]")
    return NOT_A_PAIR


def _set(texts: Any) -> Sequence[Item]:
    """Neighbours in a list of texts that all say the same."""
    if not isinstance(texts, list) or len(texts) < 2:
        return (NOT_A_PAIR,)
    return [Pair(query, document, (), "{set}") for query, document in pairwise(texts)]


def _without_instruction(value: Any) -> list[Any]:
    """The texts of [instruction, text], of [text], of a list of such lists, or of a plain text."""
    if not isinstance(value, list):
        return [] if value is None else [value]
    if value and all(isinstance(item, list) for item in value):
        return [item[-1] if 0 < len(item) <= 2 else item for item in value]
    return value[-1:] if len(value) <= 2 else [value]


def _characters(value: Any) -> int:
    """Roughly those of a JSON value."""
    characters, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            characters += len(item)
        elif isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
        characters += 1
    return characters


def flaw(text: Any) -> str:
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
