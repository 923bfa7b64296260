"""Files as tests write them, and what is read of them."""

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gte_ray.errors import RunError
from gte_ray.readers.chunks import read_pairs
from gte_ray.readers.formats import Piece
from gte_ray.readers.reading import Reading
from gte_ray.readers.spec import check_file


class Read(NamedTuple):
    """All that comes of a file."""

    pairs: list[tuple[str, str, list[str]]]
    dropped: dict[str, int]
    layouts: set[str]
    unused: dict[str, int]
    lost_negatives: dict[str, int]


def read(path: Any, columns: tuple[str, str] | None = None) -> Read:
    return read_as(path, Reading(*columns or ()))


def read_as(path: Any, reading: Reading) -> Read:
    check_file(str(path), reading)
    chunks = list(read_pairs(Piece(str(path)), reading))
    pairs = [tuple(row.values()) for chunk in chunks for row in chunk.table.to_pylist()]
    counts = [
        dict(sum((Counter(getattr(chunk, name)) for chunk in chunks), Counter()))
        for name in ("dropped", "unused", "lost_negatives")
    ]
    layouts = {chunk.layout for chunk in chunks if chunk.layout}
    return Read(pairs, counts[0], layouts, counts[1], counts[2])


def json_lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def comma_separated(*rows, **dialect) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, **dialect).writerows(rows)
    return text.getvalue().encode()


def parquet(**columns) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def assert_one_sentence(path: Path, content: bytes, message: str) -> None:
    """What cannot be read of a file with this content is told in one line that begins with its name."""
    path.write_bytes(content)
    with pytest.raises(RunError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    str(caught.value).encode()
