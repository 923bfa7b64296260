"""Pairs of a file as tables of (query, document, negatives), a teacher's scores beside them if they have some."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress

import pyarrow as pa

from gte_ray.readers.formats import Piece, read_items
from gte_ray.readers.reading import Reading
from gte_ray.readers.values import (
    NEGATIVE_SCORES,
    PAIR_SCORE,
    Dropped,
    Drops,
    Examples,
    Item,
    Pair,
    Unused,
    checked,
    reason_to_drop,
)

TEXT_SCHEMA = pa.schema(
    [
        ("query", pa.large_string()),
        ("document", pa.large_string()),
        ("negatives", pa.list_(pa.large_string())),
    ]
)
CHUNK_CHARACTERS = 32 * 2**20
"""Characters of text that a reader gathers into one table."""


@dataclass(frozen=True)
class Chunk:
    """Some of a source's pairs, and what was dropped while reading them."""

    table: pa.Table
    """query, document (large_string), negatives (list of large_string); group (string) if the source is split; score
    (float) and negative_scores (list of float) if a teacher's are there."""
    dropped: dict[str, int]
    layout: str
    unused: dict[str, int]
    """Number of rows with each of the columns that are not read."""
    lost_negatives: dict[str, int]
    """Number of the pairs' hard negatives that are not texts, by reason."""
    examples: Examples


def read_pairs(piece: Piece, reading: Reading) -> Iterator[Chunk]:
    """Yields the pairs of a piece in chunks of bounded size. Raises RunError, with the file's name, if unreadable."""
    items = read_items(piece, reading)
    full = True
    while full:
        chunk, full = _chunk(items)
        yield chunk


def _chunk(items: Iterator[Item]) -> tuple[Chunk, bool]:
    """The next chunk, and whether it is full, so that more may follow."""
    rows = _Rows()
    drops = Drops()
    unused: Counter[str] = Counter()
    for item in items:
        if isinstance(item, Unused):
            unused.update(item.columns)
            continue
        item = checked(item)
        if isinstance(item, Dropped):
            drops.add(item)
            continue
        rows.add(item)
        if rows.size > CHUNK_CHARACTERS:
            break
    chunk = Chunk(
        rows.table(),
        dict(drops.counts),
        "; ".join(sorted(rows.layouts)),
        dict(unused),
        dict(rows.lost),
        drops.examples,
    )
    return chunk, rows.size > CHUNK_CHARACTERS


class _Rows:
    """Pairs that become a table."""

    def __init__(self) -> None:
        self.queries: list[str] = []
        self.documents: list[str] = []
        self.negatives: list[Sequence[str]] = []
        self.groups: list[str] = []
        self.scores: dict[int, tuple[float, Sequence[float]]] = {}
        """Of the pairs that have some, and of their negatives."""
        self.layouts: set[str] = set()
        self.lost: Counter[str] = Counter()
        """Negatives that are not texts, by reason."""
        self.size = 0
        """Characters."""

    def add(self, pair: Pair) -> None:
        query, document, negatives, layout, group, score, scores = pair
        if negatives and any(reasons := list(map(reason_to_drop, negatives))):
            kept = [not reason for reason in reasons]
            self.lost.update(reason for reason in reasons if reason not in ("", "null"))
            negatives, scores = list(compress(negatives, kept)), list(compress(scores, kept))
        if score is not None or scores:
            self.scores[len(self.queries)] = math.nan if score is None else score, scores
        self.queries.append(query)
        self.documents.append(document)
        self.negatives.append(negatives)
        self.groups.append(group)
        self.layouts.add(layout)
        self.size += len(query) + len(document) + sum(map(len, negatives))

    def table(self) -> pa.Table:
        table = pa.table([self.queries, self.documents, self.negatives], TEXT_SCHEMA)
        if any(self.groups):
            table = table.append_column("group", pa.array(self.groups, pa.string()))
        if self.scores:
            found = [self.scores.get(row, (math.nan, ())) for row in range(len(table))]
            rows = zip(self.negatives, found, strict=True)
            lists = [scores or [math.nan] * len(texts) for texts, (_, scores) in rows]
            table = table.append_column(PAIR_SCORE, pa.array([score for score, _ in found], pa.float32()))
            table = table.append_column(NEGATIVE_SCORES, pa.array(lists, pa.list_(pa.float32())))
        return table
