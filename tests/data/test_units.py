"""Files are cut into units of bounded size, and the pieces of a file give its rows, each once."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gte_ray.data.units import LARGEST_UNIT, MOST_UNITS, SMALLEST_UNIT, cut, text_bytes
from gte_ray.readers.formats import Piece, read_items
from gte_ray.readers.reading import Reading
from gte_ray.readers.values import Pair, Unused
from gte_ray.runtime.storage import FileStamp
from tests.data.conftest import make_pairs


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([".parquet", ".jsonl", ".csv", ".jsonl.gz"]), st.integers(0, 2**36)),
        min_size=1,
        max_size=50,
    )
)
def test_each_file_is_in_one_unit_or_in_all_its_pieces(files):
    stamps = [FileStamp(f"{number}{suffix}", size, 0) for number, (suffix, size) in enumerate(files)]
    units = cut(stamps, Reading())
    pieces = [piece for unit in units for piece in unit]
    whole = {stamp.uri: [piece for piece in pieces if piece.uri == stamp.uri] for stamp in stamps}
    sizes = {stamp.uri: stamp.size for stamp in stamps}
    for uri, parts in whole.items():
        assert [part.index for part in parts] == list(range(parts[0].count))
        assert sizes[uri] / len(parts) <= LARGEST_UNIT or uri.endswith((".csv", ".gz"))
    for unit in units:
        without_last = sum(sizes[piece.uri] / piece.count for piece in unit[:-1])
        assert without_last < LARGEST_UNIT
    assert len(units) <= len(files) + MOST_UNITS + sum(sizes.values()) // LARGEST_UNIT


def test_many_small_files_are_few_units():
    files = [FileStamp(f"{number}.jsonl", 1_000, 0) for number in range(100_000)]
    units = cut(files, Reading())
    assert [piece.uri for unit in units for piece in unit] == [file.uri for file in files]
    assert len(units) == -(-100_000 * 1_000 // SMALLEST_UNIT)


def test_compressed_files_hold_more_text_than_their_size():
    files = [
        FileStamp("a.jsonl", 1_000, 0),
        FileStamp("b.jsonl.zst", 1_000, 0),
        FileStamp("c.parquet", 1_000, 0),
    ]
    assert text_bytes(files[:1]) == 1_000
    assert text_bytes(files) == 9_000


def items(path: Path, count: int) -> tuple[list[list[Pair]], dict[str, int]]:
    """The pairs of each piece, and the columns that none of them reads."""
    pieces = [list(read_items(Piece(str(path), index, count), Reading())) for index in range(count)]
    unused: dict[str, int] = {}
    for piece in pieces:
        for item in piece:
            if isinstance(item, Unused):
                for name, rows in item.columns.items():
                    unused[name] = unused.get(name, 0) + rows
    return [[item for item in piece if isinstance(item, Pair)] for piece in pieces], unused


ROWS = [{"query": q, "document": d, "id": i} for i, (q, d) in enumerate(make_pairs(400))]
LINES = [json.dumps(row, ensure_ascii=False) for row in ROWS]


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 50),
    last=st.sampled_from(["", "\n", "\r\n\r\n"]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_pieces_of_json_lines_are_the_file(tmp_path_factory, count, last, end):
    path = tmp_path_factory.mktemp("lines") / "file.jsonl"
    path.write_bytes((end.join(LINES) + last).encode())
    (whole,), unused = items(path, 1)
    pieces, of_pieces = items(path, count)
    assert [pair for piece in pieces for pair in piece] == whole
    assert (len(whole), unused) == (400, of_pieces) == (400, {"id": 400})
    assert max(map(len, pieces)) <= 2 * -(-400 // count) + 5


def test_pieces_of_parquet_are_the_file(tmp_path):
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table, tmp_path / "file.parquet", row_group_size=70)
    (whole,), unused = items(tmp_path / "file.parquet", 1)
    for count in (2, 3, 6, 9):
        pieces, of_pieces = items(tmp_path / "file.parquet", count)
        assert [pair for piece in pieces for pair in piece] == whole
        assert of_pieces == unused == {"id": 400}


CANNOT_BE_SPLIT = {
    "an array": json.dumps(ROWS, indent=1).encode(),
    "UTF-16": ("\ufeff" + "\n".join(LINES)).encode("utf-16-le"),
    "compressed": gzip.compress("\n".join(LINES).encode()),
    "carriage returns": "\r".join(LINES).encode(),
}


@pytest.mark.parametrize("content", CANNOT_BE_SPLIT.values(), ids=CANNOT_BE_SPLIT)
def test_the_first_piece_of_what_cannot_be_split_is_all_of_it(content, tmp_path):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    pieces, unused = items(path, 3)
    assert [len(piece) for piece in pieces] == [400, 0, 0]
    assert unused == {"id": 400}


def test_all_pieces_read_the_columns_that_the_beginning_of_the_file_chooses(tmp_path):
    """Later rows have other columns, which by themselves would be read as pairs."""
    rows = [*(4 * LINES[:250]), *(json.dumps({"title": f"t{i}", "body": "b"}) for i in range(300))]
    (tmp_path / "file.jsonl").write_text("\n".join(rows))
    pieces, _ = items(tmp_path / "file.jsonl", 4)
    assert {pair.layout for piece in pieces for pair in piece} == {"query, document"}
    (whole,), _ = items(tmp_path / "file.jsonl", 1)
    assert [pair for piece in pieces for pair in piece] == whole


def test_pieces_of_parquet_with_a_condition_and_columns_by_name(tmp_path):
    table = pa.Table.from_pylist([{**row, "label": row["id"] % 2} for row in ROWS])
    pq.write_table(table, tmp_path / "file.parquet", row_group_size=70)
    path, reading = str(tmp_path / "file.parquet"), Reading(where="label == 1")
    items = [item for k in range(4) for item in read_items(Piece(path, k, 4), reading)]
    assert [item.query for item in items if isinstance(item, Pair)] == [row["query"] for row in ROWS[1::2]]
