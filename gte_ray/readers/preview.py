"""The first pairs of a source, and what of its first rows is dropped, without preparing anything."""

from collections import Counter
from dataclasses import dataclass
from itertools import islice

from gte_ray.readers.formats import Piece, read_items
from gte_ray.readers.spec import SourceSpec
from gte_ray.readers.values import Dropped, Examples, Pair, Unused, checked, keep_example

PREVIEW_ROWS = 1_000
"""Rows at the beginning of a source that are looked at."""


@dataclass(frozen=True)
class Preview:
    file: str
    files: int
    pairs: list[Pair]
    read: int
    """Rows or pairs that were looked at."""
    dropped: dict[str, int]
    unused: dict[str, int]
    """Columns that are not read, as far as the first rows tell."""
    examples: Examples


def preview(source: SourceSpec, count: int) -> Preview:
    """The first `count` pairs of the first file of `source`. Raises RunError if it cannot be read."""
    files, _ = source.files()
    dropped: Counter[str] = Counter()
    unused: dict[str, int] = {}
    pairs: list[Pair] = []
    examples: Examples = {}
    read = 0
    for item in islice(read_items(Piece(files[0].uri), source.reading), PREVIEW_ROWS):
        if isinstance(item, Unused):
            unused |= item.columns
            continue
        read += 1
        item = checked(item)
        if isinstance(item, Dropped):
            dropped[item.reason] += 1
            keep_example(examples, item.reason, item.row)
        elif len(pairs) < count:
            pairs.append(item)
    return Preview(files[0].uri, len(files), pairs, read, dict(dropped), unused, examples)
