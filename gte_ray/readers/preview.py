"""The first pairs of a source, and what of its first rows is dropped, without preparing anything."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from gte_ray.readers.formats import Piece, read_items
from gte_ray.readers.join import Join, Row, keyed, number, without
from gte_ray.readers.layouts import read_rows
from gte_ray.readers.paths import template
from gte_ray.readers.spec import SourceSpec
from gte_ray.readers.values import Dropped, Examples, Item, Pair, Unused, checked, keep_example
from gte_ray.runtime.storage import FileStamp

PREVIEW_ROWS = 1_000
"""Rows at the beginning of a source that are looked at."""
JOINED_ROWS = 100_000
"""Rows of the other files of a join that are looked at."""


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
    """The first `count` pairs of the first file of `source`. Raises RunError if it cannot be read.

    Of a source that is joined, its first rows are looked up in the first `JOINED_ROWS` rows of the other files.
    """
    files, _ = source.files()
    dropped: Counter[str] = Counter()
    unused: dict[str, int] = {}
    pairs: list[Pair] = []
    examples: Examples = {}
    read = 0
    items = _joined(source, files[0].uri) if source.joins else read_items(Piece(files[0].uri), source.reading)
    for item in islice(items, PREVIEW_ROWS):
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
    unused = {name: rows for name, rows in unused.items() if name not in source.matched_columns}
    return Preview(files[0].uri, len(files), pairs, read, dict(dropped), unused, examples)


def _joined(source: SourceSpec, uri: str) -> Iterator[Item]:
    """The pairs of the first rows of a source, and what of them is dropped on the way."""
    where, reading = source.where_of_rows, source.reading
    items = read_items(Piece(uri), source.joins[0].these_rows(reading, where))
    for join, files in zip(source.joins, source.joined_files(), strict=True):
        found = list(islice(keyed(items, join.name, uri), PREVIEW_ROWS))
        yield from (item for item in found if isinstance(item, Dropped))
        rows = [item for item in found if not isinstance(item, Dropped)]
        partners = _partners(join, files, {key for key, _ in rows})
        yield from (without(join.name).of(row) for key, row in rows if key not in partners)
        joined = [row | {join.name: partners[key]} for key, row in rows if key in partners]
        items = read_rows(iter(joined), source.joined_reading, uri)
        if join is not source.joins[-1]:
            following = source.joins[source.joins.index(join) + 1]
            items = read_rows(iter(joined), following.these_rows(source.joined_reading, ""), uri)
    yield from items


def _partners(join: Join, files: Sequence[FileStamp], wanted: set[str]) -> dict[str, Row]:
    items = (item for file in files for item in read_items(Piece(file.uri), join.other_rows))
    best = template(join.best) if join.best else None
    found: dict[str, tuple[float, Row]] = {}
    for item in islice(keyed(items, "", join.files), JOINED_ROWS):
        if isinstance(item, Dropped) or item[0] not in wanted:
            continue
        key, row = item
        rank = number(best(row)) if best else 0.0
        if key not in found or rank > found[key][0]:
            found[key] = rank, row
    return {key: row for key, (_, row) in found.items()}
