"""Layouts: which texts of a row are the query, the documents and the negatives."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from gte_ray.errors import RunError

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
"""Pairs of column names that are taken without being named."""
NEGATIVE_COLUMNS = ("neg", "negative", "negatives")

Triple = tuple[Any, Any, Sequence[Any]]
"""Query, document, negatives, before they are known to be texts."""
Item = tuple[Triple | str, str]
"""A triple and its layout, or why a row is none."""
NO_PAIR: Item = ("not a pair", "")
NO_JSON: Item = ("not json", "")


def choose_columns(names: Sequence[str], given: tuple[str, str] | None, where: str) -> tuple[str, str]:
    """The query and the document column among `names`; RunError that lists them where it is not clear."""
    if given:
        missing = [name for name in given if name not in names]
        if missing:
            raise RunError(f"{where}: there is no column {missing[0]!r}; there are {', '.join(names)}")
        return given
    lower = {name.lower(): name for name in names}
    known = [pair for pair in KNOWN_COLUMNS if set(pair) <= set(lower)]
    if len(known) == 1:
        return lower[known[0][0]], lower[known[0][1]]
    if len(names) == 2 and names[0] != names[1]:
        return names[0], names[1]
    raise RunError(
        f"{where}: cannot tell queries from documents among the columns {', '.join(names)}; "
        "name them as NAME=GLOB:TASK:QUERY_COLUMN,DOCUMENT_COLUMN"
    )


def has_lists(names: Sequence[str]) -> bool:
    """Whether columns of these names are of the layouts {query, pos, neg} or {set}."""
    return "set" in names or {"query", "pos"} <= set(names)


class Rows:
    """The pairs of the rows of one file. Its first row decides which columns they are in."""

    def __init__(self, columns: tuple[str, str] | None, uri: str):
        self.columns = columns
        self.uri = uri
        self.known: tuple[str, str] | None = None

    def of_list(self, value: list[Any]) -> Item:
        """`[query, document]` or `[query, document, negative]`."""
        if len(value) not in (2, 3):
            return NO_PAIR
        return (value[0], value[1], value[2:]), "[query, document]"

    def of_object(self, value: dict[str, Any]) -> Iterator[Item]:
        if self.columns is None and isinstance(value.get("set"), list):
            if len(value["set"]) < 2:
                yield NO_PAIR
            for query, document in pairwise(value["set"]):
                yield (query, document, ()), "{set}"
        elif self.columns is None and "query" in value and isinstance(value.get("pos"), list):
            if not value["pos"]:
                yield NO_PAIR
            for document in value["pos"]:
                yield (value["query"], document, negatives_of(value)), "{query, pos, neg}"
        else:
            if self.known is None:
                self.known = choose_columns(list(value), self.columns, self.uri)
            query, document = self.known
            # A row that lacks one of them counts as null.
            triple = value.get(query), value.get(document), negatives_of(value)
            yield triple, f"{query}, {document}"


def negatives_of(value: dict[str, Any]) -> Sequence[Any]:
    """All negatives of a row; those that are not texts are left out later."""
    found: list[Any] = []
    for name in NEGATIVE_COLUMNS:
        negatives = value.get(name)
        if negatives is not None:
            found += negatives if isinstance(negatives, list) else [negatives]
    return found


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
