"""The first pairs of a source, and what of its first rows is dropped, without preparing anything."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from gte_ray.readers.formats import Piece, read_items
from gte_ray.readers.join import Join, Row, best_rows, keyed, without
from gte_ray.readers.layouts import read_rows
from gte_ray.readers.spec import SourceSpec
from gte_ray.readers.values import Dropped, Drops, Examples, Item, Pair, Unused, checked
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
    unused: dict[str, int] = {}
    pairs: list[Pair] = []
    drops, read = Drops(), 0
    items = _joined(source, files[0].uri) if source.joins else read_items(Piece(files[0].uri), source.reading)
    for item in islice(items, PREVIEW_ROWS):
        if isinstance(item, Unused):
            unused |= item.columns
            continue
        read += 1
        item = checked(item)
        if isinstance(item, Dropped):
            drops.add(item)
        elif len(pairs) < count:
            pairs.append(item)
    unused = {name: rows for name, rows in unused.items() if name not in source.matched_columns}
    return Preview(files[0].uri, len(files), pairs, read, dict(drops.counts), unused, drops.examples)


def _joined(source: SourceSpec, uri: str) -> Iterator[Item]:
    """The pairs of the first rows of a source, and what of them is dropped on the way."""
    first, *readings = source.key_readings
    items = read_items(Piece(uri), first)
    following = [*readings, source.joined_reading]
    for join, files, reading in zip(source.joins, source.joined_files(), following, strict=True):
        found = list(islice(keyed(items, join.on, join.name, uri), PREVIEW_ROWS))
        yield from (item for item in found if isinstance(item, Dropped))
        rows = [item for item in found if not isinstance(item, Dropped)]
        partners = _partners(join, files, {key for key, _ in rows})
        yield from (without(join.name).of(row) for key, row in rows if key not in partners)
        joined = [row | {join.name: partners[key]} for key, row in rows if key in partners]
        items = read_rows(iter(joined), reading, uri)
    yield from items


def _partners(join: Join, files: Sequence[FileStamp], wanted: set[str]) -> dict[str, Row]:
    items = (item for file in files for item in read_items(Piece(file.uri), join.other_rows))
    rows = islice(keyed(items, join.key, "", ""), JOINED_ROWS)
    found = (item for item in rows if not isinstance(item, Dropped) and item[0] in wanted)
    return best_rows((key, row, join.rank(row)) for key, row in found)
