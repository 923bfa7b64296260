"""Values that look like a pair and are none, and files that are nearly of their format."""

import csv
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gte_ray.errors import RunError
from gte_ray.readers.layouts import HEAD_ROWS
from gte_ray.readers.reading import Reading
from gte_ray.readers.spec import check_file
from tests.readers.reading import json_lines, read


def test_names_that_only_later_rows_have(tmp_path):
    """After the rows that decide: a label, whose rows are dropped, and negatives, which are read."""
    plain = [{"sentence1": f"a{i}", "sentence2": f"b{i}"} for i in range(HEAD_ROWS)]
    late = [{"sentence1": "a", "sentence2": "b", "label": 0}] * 3 + [
        {"sentence1": "c", "sentence2": "d", "neg": "n"}
    ]
    (tmp_path / "file.jsonl").write_bytes(json_lines(*plain, *late))
    found = read(tmp_path / "file.jsonl")
    assert found.dropped == {"with a label or score": 3}
    assert found.pairs[HEAD_ROWS:] == [("c", "d", ["n"])]
    assert len(read(tmp_path / "file.jsonl", ("sentence1", "sentence2")).pairs) == HEAD_ROWS + 4


AFTER_AN_ARRAY = [
    '[{"query": "q", "document": "d"}]\n[{"query": "r", "document": "e"}]\n',
    '[{"query": "q", "document": "d"}]\n{"query": "r", "document": "e"}\n',
    '[{"query": "q", "document": "d"}] garbage',
    '[["i", "q"], ["i", "d"]]\n[["i", "r"], ["i", "e"]]\n',
]


@pytest.mark.parametrize("read_at_once", [3, 2**20])
@pytest.mark.parametrize("content", AFTER_AN_ARRAY)
def test_what_follows_an_array_is_not_lost(content, read_at_once, tmp_path, monkeypatch):
    monkeypatch.setattr("gte_ray.readers.json_rows.ARRAY_CHARACTERS", read_at_once)
    (tmp_path / "file.jsonl").write_text('[{"query": "q", "document": "d"}] \n\n  ')
    assert len(read(tmp_path / "file.jsonl").pairs) == 1
    (tmp_path / "file.jsonl").write_text(content)
    with pytest.raises(RunError, match="holds more behind its JSON array"):
        read(tmp_path / "file.jsonl")


@pytest.mark.parametrize("third", ["contradiction", "entailment", "0", "1.0", "not_duplicate", "True"])
def test_a_class_after_a_pair_in_a_list_is_no_hard_negative(third, tmp_path):
    (tmp_path / "file.jsonl").write_bytes(json_lines(["a", "b", third], ["a", "b", "a text"]))
    assert read(tmp_path / "file.jsonl")[:2] == ([("a", "b", ["a text"])], {"not a pair": 1})


def test_negatives_beside_sets_are_told(tmp_path):
    (tmp_path / "file.jsonl").write_bytes(json_lines({"set": ["a", "b"], "neg": ["n"]}))
    found = read(tmp_path / "file.jsonl")
    assert (found.pairs, found.unused) == ([("a", "b", [])], {"neg": 1})


def test_a_query_without_an_instruction_has_plain_texts(tmp_path):
    (tmp_path / "file.jsonl").write_bytes(
        json_lines({"query": ["q"], "pos": ["p1", "p2"], "neg": ["n1", "n2"]})
    )
    assert read(tmp_path / "file.jsonl").pairs == [("q", "p1", ["n1", "n2"]), ("q", "p2", ["n1", "n2"])]


NO_TEXTS = [
    ({"query": "90", "document": "Oslo"}, "the column 'query' holds numbers alone, such as '90'"),
    ({"query": "q", "document": "1185869"}, "the column 'document' holds numbers alone"),
    ({"query": "q", "pos": "['p1', 'p2']"}, "the column 'pos' holds lists that are written as texts"),
]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize(("row", "message"), NO_TEXTS)
def test_columns_of_ids_and_of_printed_lists_are_refused(row, message, kind, tmp_path):
    path = tmp_path / f"file.{kind}"
    if kind == "jsonl":
        path.write_bytes(json_lines(row, row))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist([row, row]), path)
    else:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([list(row), row.values(), row.values()])
    with pytest.raises(RunError, match=re.escape(message)):
        check_file(str(path), Reading())
    assert len(read(path, tuple(row)).pairs) == 2


def test_null_columns_first_huge_integers_and_a_second_mark(tmp_path):
    rows = [{"query": None, "document": None}, {"query": "q", "document": "d"}]
    (tmp_path / "null.jsonl").write_bytes(json_lines(*[rows[0]] * HEAD_ROWS, rows[1]))
    assert read(tmp_path / "null.jsonl").pairs == [("q", "d", [])]
    huge = '{"query": "q", "document": "d", "id": ' + "9" * 5_000 + "}"
    for name, content in (("huge.jsonl", f"{huge}\n"), ("huge.json", f"[{huge}]")):
        (tmp_path / name).write_text(content)
        assert read(tmp_path / name).pairs == [("q", "d", [])]
    one = '\ufeff{"query": "q", "document": "d"}\n'
    (tmp_path / "marks.jsonl").write_text(one + one)
    assert len(read(tmp_path / "marks.jsonl").pairs) == 2


def test_views_of_lists_in_parquet(tmp_path):
    texts = pa.array([["d", "e"]], pa.list_view(pa.string()))
    pq.write_table(pa.table({"query": ["q"], "pos": texts}), tmp_path / "file.parquet")
    assert read(tmp_path / "file.parquet").pairs == [("q", "d", []), ("q", "e", [])]
