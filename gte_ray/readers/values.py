"""Values of a row: pairs in lists, texts after instructions, and values that are not texts."""

import json
import math
import re
import struct
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

_CLASS = re.compile(
    r"[-+]?\d+(\.\d+)?|entailment|neutral|contradiction|true|false|yes|no|(not[_ ])?\w*(duplicate|relevant)",
    re.I,
)
"""Third values that are labels: their rows are labelled pairs, not triples."""


class Pair(NamedTuple):
    """A row, or a part of one, whose values are not yet checked to be texts."""

    query: Any
    document: Any
    negatives: Sequence[Any]
    layout: str
    group: str = ""
    """The value by which its source is split."""
    score: Any = None
    """A teacher's score of the pair; None for none."""
    negative_scores: Sequence[Any] = ()
    """The same of each hard negative; empty for none."""


class Dropped(NamedTuple):
    """A row that is not a pair."""

    reason: str
    row: Any = None
    """What is shown of it; None for nothing."""

    def of(self, row: Any) -> "Dropped":
        """The same with its row."""
        return Dropped(self.reason, row)


class Unused(NamedTuple):
    """Columns of a file that are not read, and the number of rows that have each."""

    columns: dict[str, int]


Item = Pair | Dropped | Unused
Examples = dict[str, list[str]]
"""The first rows that are dropped, shortened, by reason."""
PAIR_SCORE, NEGATIVE_SCORES = "score", "negative_scores"
"""Columns of a teacher's scores in tables of pairs: float32 of the pair itself, and a list of them beside `negatives`."""
MOST_EXAMPLES = 3
EXAMPLE_CHARACTERS = 200
NOT_A_PAIR = Dropped("not a pair")
NOT_JSON = Dropped("not json")
JUDGED = Dropped("with a label or score")
NAME_TWICE = Dropped("a name twice")
OTHER_SCORES = Dropped("with scores that are not one number for each text")


def list_pair(value: list[Any]) -> Item:
    """The pair in `[query, document]` or `[query, document, negative]`.

    A row with any other third value is dropped, as the value may be a label.
    """
    third = value[2] if len(value) == 3 else None
    is_text = isinstance(third, str) and not _CLASS.fullmatch(third.strip())
    if len(value) == 2 or (len(value) == 3 and (third is None or is_text)):
        return Pair(value[0], value[1], value[2:], "[query, document]")
    return NOT_A_PAIR.of(value)


def set_pairs(texts: Any) -> Sequence[Item]:
    """Pairs of neighbours in a list of texts with the same meaning."""
    if not isinstance(texts, list) or len(texts) < 2:
        return (NOT_A_PAIR.of({"set": texts}),)
    return [Pair(query, document, (), "{set}") for query, document in pairwise(texts)]


class Scores(NamedTuple):
    """A teacher's scores of a row's documents and negatives, one for each; empty for none."""

    documents: Sequence[Any] = ()
    negatives: Sequence[Any] = ()


UNSCORED = Scores()


def pairs_of(
    query: Any, documents: Sequence[Any], negatives: Sequence[Any], layout: str,
    group: str = "", scores: Scores = UNSCORED,
) -> Sequence[Item]:  # fmt: skip
    """A pair for each document, each with all negatives."""
    if scores is UNSCORED:
        return [Pair(query, text, negatives, layout, group) for text in documents]
    if len(scores.documents) not in (0, len(documents)) or len(scores.negatives) not in (0, len(negatives)):
        shown = {"query": query, "documents": len(documents), "negatives": len(negatives)}
        return (OTHER_SCORES.of(shown | {f"scores of {name}": x for name, x in scores._asdict().items()}),)
    return [
        Pair(query, text, negatives, layout, group, score, scores.negatives)
        for text, score in zip(documents, scores.documents or [None] * len(documents), strict=True)
    ]


def listed(value: Any) -> list[Any]:
    """The items of a list; a single value becomes a list of one, null an empty list."""
    return value if isinstance(value, list) else [] if value is None else [value]


def without_instruction(value: Any) -> list[Any]:
    """The texts in [instruction, text], [text], a list of such lists, or a plain text."""
    if not isinstance(value, list):
        return [] if value is None else [value]
    if value and all(isinstance(item, list) for item in value):
        return [item[-1] if 0 < len(item) <= 2 else item for item in value]
    return value[-1:] if len(value) <= 2 else [value]


def characters(value: Any) -> int:
    """Approximate number of characters in a JSON value."""
    total, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            total += len(item)
        elif isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
        total += 1
    return total


def checked(item: Pair | Dropped) -> Pair | Dropped:
    """The pair, or why it cannot be trained on."""
    if isinstance(item, Dropped):
        return item
    reason = reason_to_drop(item.query) or reason_to_drop(item.document)
    if reason:
        return Dropped(reason, {"query": item.query, "document": item.document})
    if item.score is None and not item.negative_scores:
        return item
    numbers = [number(score) for score in (item.score, *item.negative_scores)]
    if None in numbers:
        shown = {"query": item.query, "score": item.score, "negative scores": item.negative_scores}
        return OTHER_SCORES.of(shown)
    return item._replace(score=numbers[0], negative_scores=numbers[1:])


def number(score: Any) -> float | None:
    """A teacher's score as float32 has it, NaN for none: null, NaN or nothing. None for what is no such number."""
    if score is None or (isinstance(score, str) and not score.strip()):
        return math.nan
    try:
        value = struct.unpack("f", struct.pack("f", float(score)))[0] + 0.0  # of both zeros the positive one
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isinf(value) or isinstance(score, bool) else value


def keep_example(examples: Examples, reason: str, row: Any) -> None:
    """Adds a row to the `examples` of its reason unless there are enough."""
    if row is not None and len(kept := examples.setdefault(reason, [])) < MOST_EXAMPLES:
        text = (
            json.dumps(_shortened(row), ensure_ascii=False, default=str) if not isinstance(row, str) else row
        )
        kept.append(
            ascii(text[:EXAMPLE_CHARACTERS])[1:-1] if not text.isprintable() else text[:EXAMPLE_CHARACTERS]
        )


class Drops:
    """Rows that are left out: their number and the first of them, by reason."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: Examples = {}

    def add(self, item: Dropped) -> None:
        self.counts[item.reason] += 1
        keep_example(self.examples, item.reason, item.row)


def unite_examples(examples: Examples, more: Examples) -> None:
    """Adds those of `more` to `examples` as far as there are not enough."""
    for reason, rows in more.items():
        examples[reason] = (examples.get(reason, []) + rows)[:MOST_EXAMPLES]


def _shortened(value: Any) -> Any:
    """A value of few characters that begins as `value` does."""
    if isinstance(value, str):
        return value if len(value) <= 60 else f"{value[:60]}..."
    if isinstance(value, list):
        return [_shortened(item) for item in value[:5]]
    if isinstance(value, dict):
        return {name[:60]: _shortened(value[name]) for name in list(value)[:20]}
    return value


def reason_to_drop(text: Any) -> str:
    """Why `text` cannot be trained on; empty if it can."""
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
