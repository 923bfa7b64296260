"""Layouts: which texts of a row are the query, the documents and the negatives."""

import re
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
    ("sent0", "sent1"),
)
"""Pairs of column names that are taken without being named."""
LIST_COLUMNS = ("query", "pos", "set", "question", "positive_ctxs", "hard_negative_ctxs", "negative_ctxs")
"""Columns of the layouts {query, pos, neg}, {set} and BERRI's, besides those of negatives."""
_NEGATIVES = re.compile(r"neg|negatives|negative(_\d+)?|hard_neg|hard_negatives?")
_SEPARATOR = "[SEP]"
"""Between instruction and question in BERRI."""

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


def is_negative(column: str) -> bool:
    """Whether a column of that name holds hard negatives: a text or a list of texts in each row."""
    return _NEGATIVES.fullmatch(column) is not None


def has_lists(names: Sequence[str]) -> bool:
    """Whether columns of these names are of a layout with lists, whose columns are LIST_COLUMNS."""
    return "set" in names or {"query", "pos"} <= set(names) or {"question", "positive_ctxs"} <= set(names)


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
        if self.columns is None and isinstance(value.get("positive_ctxs"), list):
            yield from _berri(value)
        elif self.columns is None and isinstance(value.get("query"), list):
            yield _medi(value)
        elif self.columns is None and isinstance(value.get("set"), list):
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
    for name, negatives in value.items():
        if negatives is not None and is_negative(name):
            found += negatives if isinstance(negatives, list) else [negatives]
    return found


def _medi(value: dict[str, Any]) -> Item:
    """A row of MEDI (Su et al., 2023): each text comes as [instruction, text], the instruction is dropped."""
    texts = [value.get(name) for name in ("query", "pos", "neg")]
    if any(not isinstance(text, list) or len(text) != 2 for text in texts[:2]):
        return NO_PAIR
    query, document, negative = (text[1] if isinstance(text, list) and text else None for text in texts)
    return (query, document, [negative]), "{[instruction, query], [instruction, pos], [instruction, neg]}"


def _berri(value: dict[str, Any]) -> Iterator[Item]:
    """A row of BERRI (Asai et al., 2023), which is DPR's with `instruction [SEP] question`; titles are dropped."""
    question = value.get("question")
    if isinstance(question, str):
        question = question.split(_SEPARATOR, 1)[-1].strip()
    hard, random = (_context_texts(value.get(f"{kind}negative_ctxs")) for kind in ("hard_", ""))
    if not value["positive_ctxs"]:
        yield NO_PAIR
    for document in _context_texts(value["positive_ctxs"]):
        yield (question, document, hard + random), "{question, positive_ctxs, hard_negative_ctxs}"


def _context_texts(contexts: Any) -> list[Any]:
    found = contexts if isinstance(contexts, list) else []
    return [context.get("text") if isinstance(context, dict) else context for context in found]


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
