"""Units of work of the first pass: groups of small files, whole files, and pieces of large ones.

How the input is cut depends on the files alone, not on the cluster, so that a later call finds what an earlier
one has done. It has no influence on the store.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from gte_ray.readers.formats import Piece, is_compressed, may_be_split
from gte_ray.readers.reading import Reading
from gte_ray.runtime.storage import FileStamp

MOST_UNITS = 64
"""Units that a source is cut into as long as none of them leaves the sizes below: enough for many CPUs."""
SMALLEST_UNIT = 2**23
"""Bytes of a unit's files, below which a task costs more than its work."""
LARGEST_UNIT = 2**29
EXPANSION = 4
"""Bytes of text in a byte of a compressed file, about."""

Unit = tuple[Piece, ...]


def cut(files: Sequence[FileStamp], reading: Reading) -> list[Unit]:
    """All files in units of about the same size; `files` of other formats than text and Parquet are whole."""
    size = int(np.clip(sum(file.size for file in files) // MOST_UNITS, SMALLEST_UNIT, LARGEST_UNIT))
    return list(_units(files, reading, size))


def _units(files: Sequence[FileStamp], reading: Reading, size: int) -> Iterator[Unit]:
    group: list[Piece] = []
    gathered = 0
    for file in files:
        pieces = -(-file.size // size) if may_be_split(file.uri, reading) else 1
        if pieces > 1:
            for index in range(pieces):
                yield (Piece(file.uri, index, pieces),)
            continue
        group.append(Piece(file.uri))
        gathered += file.size
        if gathered >= size:
            yield tuple(group)
            group, gathered = [], 0
    if group:
        yield tuple(group)


def text_bytes(files: Sequence[FileStamp]) -> int:
    """Bytes of text in all files, estimated from their sizes."""
    return sum(file.size * (EXPANSION if is_compressed(file.uri) else 1) for file in files)
