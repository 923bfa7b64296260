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
            yield from self._row(value)
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

    def _row(self, value: Any) -> Iterator[Item]:
        if isinstance(value, Dropped):
            yield value
        elif isinstance(value, dict) and self.columns is not None:
            self._note(value, self.columns.names)
            yield from self.of_object(value)
        elif isinstance(value, list):
            yield _list(value)
        else:
            yield NOT_A_PAIR

    def of_object(self, value: dict[str, Any]) -> Iterator[Item]:
        """The pairs of one row, whose columns were chosen before."""
        assert self.columns is not None
        columns = self.columns
        query, document = value.get(columns.query), value.get(columns.document)
        if not columns.document:
            yield from _set(query)
        elif isinstance(query, list) and (columns.query, columns.document) == MEDI:
            yield from self._instructed(value, columns)
        elif not self.lists:
            negatives = [text for name in columns.negatives for text in self._texts(value, name)]
            yield Pair(query, document, negatives, self.layout)
        elif not isinstance(document, list) or not document:
            yield NOT_A_PAIR
        else:
            if columns.document == "positive_ctxs" and isinstance(query, str) and _SEPARATOR in query:
                query = query.split(_SEPARATOR, 1)[1].strip()
                self.unused[INSTRUCTION] += 1
            negatives = [text for name in columns.negatives for text in self._texts(value, name)]
            for text in self._texts(value, columns.document):
                yield Pair(query, text, negatives, self.layout)

    def _instructed(self, value: dict[str, Any], columns: Columns) -> Iterator[Item]:
        """A row of MEDI (Su et al., 2023) or MEDI 2: texts come as [instruction, text], or several such lists."""
        queries = _without_instruction(value[columns.query])
        documents = _without_instruction(value.get(columns.document))
        negatives = [text for name in columns.negatives for text in _without_instruction(value.get(name))]
        if len(queries) != 1 or not documents:
            yield NOT_A_PAIR
            return
        if len(value[columns.query]) == 2:
            self.unused[INSTRUCTION] += 1
        for document in documents:
            layout = "{[instruction, query], [instruction, pos], [instruction, neg]}"
            yield Pair(queries[0], document, negatives, layout)

    def _texts(self, value: dict[str, Any], name: str) -> list[Any]:
        """A column's texts: one, a list, or objects with a `text`, whose other fields are noted as not used."""
        found = value.get(name)
        items = found if isinstance(found, list) else [] if found is None else [found]
        texts = []
        for item in items:
            if isinstance(item, dict) and "text" in item:
                self._note(item, ("text",), f"{name}.")
                item = item["text"]
            texts.append(item)
        return texts

    def _note(self, value: dict[str, Any], used: Sequence[str], prefix: str = "") -> None:
        for name in value:
            if name not in used and (prefix + name in self.unused or len(self.unused) < MOST_UNUSED):
                self.unused[prefix + name] += 1


def _list(value: list[Any]) -> Item:
    """`[query, document]` or `[query, document, negative]`; a third value that is no text may be a label."""
    if len(value) == 2 or (len(value) == 3 and isinstance(value[2], str | None)):
        return Pair(value[0], value[1], value[2:], "[query, document]")
    return NOT_A_PAIR


def _set(texts: Any) -> Iterator[Item]:
    """Neighbours in a list of texts that all say the same."""
    if not isinstance(texts, list) or len(texts) < 2:
        yield NOT_A_PAIR
        return
    for query, document in pairwise(texts):
        yield Pair(query, document, (), "{set}")


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
