"""Pairs of any fields of any rows: by path and template, under a condition, in every format."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gte_ray.errors import RunError
from gte_ray.readers.formats import Piece, read_items
from gte_ray.readers.reading import Reading
from gte_ray.readers.values import Dropped, Pair
from tests.data.conftest import write_lines
from tests.data.tickets import SETTINGS, TICKETS, write
from tests.readers.reading import read_as


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_fields_of_any_depth_with_a_condition(tmp_path, suffix):
    found = read_as(write(tmp_path / f"tickets{suffix}", TICKETS), SETTINGS)
    assert found.pairs == [("s1\nb1", "a", ["n"]), ("s3", "e", ["m", "o"])]
    assert found.dropped == {"not as where says": 2, "null": 1}
    assert found.unused == {}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".json"])
def test_a_part_of_a_text_alone_is_a_field(tmp_path, suffix):
    path = write(tmp_path / f"x{suffix}", [{"q": "a: b", "d": "<p>c &amp;</p>d"}])
    assert read_as(path, Reading("q|after:a:", "d|plain")).pairs == [("b", "c &\nd", [])]


def test_a_list_of_documents_gives_a_pair_for_each_and_unread_columns_are_told(tmp_path):
    rows = [{"q": "q1", "d": ["a", "b"], "id": 1}, {"q": "q2", "d": [], "id": 2}]
    found = read_as(write(tmp_path / "x.jsonl", rows), Reading("q", "d[].x"))
    assert found.dropped == {"not a pair": 1, "null": 2}
    rows = [{"q": "q1", "d": [{"x": "a"}, {"x": "b"}], "id": 1}]
    found = read_as(write(tmp_path / "y.jsonl", rows), Reading("q", "d[].x"))
    assert (found.pairs, found.unused) == ([("q1", "a", []), ("q1", "b", [])], {"id": 1})


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
def test_a_condition_decides_of_labels_that_are_refused_without(tmp_path, suffix):
    """The columns are those of known names."""
    rows = [
        {"question1": f"q{i}", "question2": f"d{i}", "is_duplicate": i % 2, "id": f"i{i}"} for i in range(4)
    ]
    path = tmp_path / f"quora{suffix}"
    if suffix == ".csv":
        lines = [",".join(map(str, row.values())) for row in rows]
        path.write_text("\n".join([",".join(rows[0]), *lines]))
    else:
        write(path, rows)
    with pytest.raises(
        RunError, match=r"'is_duplicate' may say of a row .* say which rows are pairs by `where`"
    ):
        read_as(path, Reading())
    found = read_as(path, Reading(where="is_duplicate == 1"))
    assert [pair[:2] for pair in found.pairs] == [("q1", "d1"), ("q3", "d3")]
    assert (found.dropped, found.unused) == ({"not as where says": 2}, {"id": 2})


def test_a_field_of_a_condition_that_no_row_has_is_told(tmp_path):
    """A row may lack it, as pages lack `redirect`; a file where all do may be one whose field is called otherwise."""
    rows = [
        {"query": f"q{i}", "document": f"d{i}", "votes": i, "lang": "en" if i else None} for i in range(4)
    ]
    path = write(tmp_path / "x.jsonl", rows)
    misspelt = read_as(
        path, Reading("query", "document", where="vote >= 2 and lang == 'en' or row['ln'] == 'en'")
    )
    assert misspelt.dropped == {"not as where says (no row at the beginning has 'vote', 'ln')": 4}
    optional = read_as(path, Reading(where="lang == 'en' and not vote"))
    assert optional.dropped == {"not as where says (no row at the beginning has 'vote')": 1}
    placed = read_as(path, Reading("query", "document", where="votes >= 2 and row['@file'] == 'x.jsonl'"))
    assert placed.dropped == {"not as where says": 2}


def test_a_file_without_a_line_of_names_in_another_encoding(tmp_path):
    (tmp_path / "faq.csv").write_bytes("1;Wo ist Köln?;Am Rhein\n2;Warum?;Darum\n".encode("latin-1"))
    reading = Reading(
        "question", "answer", columns=("id", "question", "answer"), encoding="latin-1", delimiter=";"
    )
    found = read_as(tmp_path / "faq.csv", reading)
    assert found.pairs == [("Wo ist Köln?", "Am Rhein", []), ("Warum?", "Darum", [])]
    assert found.unused == {"id": 2}
    (tmp_path / "triples.tsv").write_text('q "1"\tp\tn\nonly two\tfields\n')
    found = read_as(tmp_path / "triples.tsv", Reading(columns=("query", "positive", "negative")))
    assert (found.pairs, found.dropped) == ([('q "1"', "p", ["n"])], {"not a pair": 1})


SQUAD = {
    "version": "1.1",
    "data": [
        {
            "title": "Lamps",
            "paragraphs": [
                {
                    "context": "It dims.",
                    "qas": [{"question": "does it?", "id": "1"}, {"question": "", "id": "2"}],
                },
                {"context": "It is blue.", "qas": [{"question": "what colour?", "id": "3"}]},
            ],
        },
        {"title": "Tea", "paragraphs": [{"context": "It cools.", "qas": []}]},
    ],
}


@pytest.mark.parametrize(
    "text", [json.dumps(SQUAD), json.dumps(SQUAD, indent=1), json.dumps(SQUAD) + "\n" + json.dumps(SQUAD)]
)
def test_rows_inside_a_file_that_is_one_value(tmp_path, text):
    (tmp_path / "train.json").write_text(text)
    reading = Reading("question", "{^^title}. {^context}", rows="data[].paragraphs[].qas[]")
    found = read_as(tmp_path / "train.json", reading)
    times = 1 + text.count("\n{")
    pairs = [("does it?", "Lamps. It dims.", []), ("what colour?", "Lamps. It is blue.", [])]
    assert found.pairs == pairs * times
    assert (found.dropped, found.unused) == ({"empty": times}, {"id": 3 * times})
    chosen = read_as(
        tmp_path / "train.json",
        Reading(
            rows="data[].paragraphs[].qas[]",
            query="question",
            document="^context",
            where="row['^^title'] == 'Lamps'",
        ),
    )
    assert [pair[:2] for pair in chosen.pairs] == [
        ("does it?", "It dims."),
        ("what colour?", "It is blue."),
    ] * times


def test_rows_that_are_no_objects_and_values_that_are_neither(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"topic": "t", "texts": ["one", "two"]}, indent=1))
    found = read_as(tmp_path / "a.json", Reading("^topic", "value", rows="texts[]"))
    assert found.pairs == [("t", "one", []), ("t", "two", [])]
    (tmp_path / "b.json").write_text('{"a":\n [')
    with pytest.raises(RunError, match=r"b\.json: is neither JSON nor JSON Lines"):
        read_as(tmp_path / "b.json", Reading("q", "d", rows="a[]"))
    pq.write_table(pa.Table.from_pylist([{"q": ["x", "y"], "title": "t"}]), tmp_path / "c.parquet")
    assert read_as(tmp_path / "c.parquet", Reading("value", "^title", rows="q[]")).pairs == [
        ("x", "t", []),
        ("y", "t", []),
    ]


def test_a_column_that_is_not_there_is_told(tmp_path):
    path = write(tmp_path / "x.parquet", [{"q": "q", "d": {"text": "d"}}])
    with pytest.raises(RunError, match="there is no column 'e'; there are 'q', 'd'"):
        read_as(path, Reading("q", "e.text"))


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
def test_a_condition_that_leaves_out_the_beginning_of_a_file(tmp_path, suffix):
    """By named fields and by known names; whole and in pieces of row groups or bytes."""
    rows = [
        {"query": f"q{i}", "document": f"d{i}", "lang": "de" if i < 1_500 else "en"} for i in range(3_000)
    ]
    path = tmp_path / f"rows{suffix}"
    if suffix == ".csv":
        path.write_text("\n".join(["query,document,lang", *(",".join(row.values()) for row in rows)]))
    elif suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=400)
    else:
        write_lines(path, rows)
    for reading in (Reading("query", "document", where="lang == 'en'"), Reading(where="lang == 'en'")):
        for count in (1, 4) if suffix != ".csv" else (1,):
            items = [item for k in range(count) for item in read_items(Piece(str(path), k, count), reading)]
            assert [item.query for item in items if isinstance(item, Pair)] == [
                f"q{i}" for i in range(1_500, 3_000)
            ]
            assert sum(isinstance(item, Dropped) for item in items) == 1_500


def test_documents_may_be_lists_in_some_rows_alone(tmp_path):
    rows = [{"q": f"q{i}"} for i in range(1_100)] + [
        {"q": "q", "a": [{"t": "x"}]},
        {"q": "r", "a": [{"t": "y"}, {"t": "z"}]},
    ]
    found = read_as(write(tmp_path / "x.jsonl", [{"q": "first", "a": []}, *rows]), Reading("q", "a[].t"))
    assert found.pairs == [("q", "x", []), ("r", "y", []), ("r", "z", [])]
    assert found.dropped == {"not a pair": 1, "null": 1_100}


def test_positions_in_rows_that_are_lists(tmp_path):
    path = write(tmp_path / "x.jsonl", [["id", "d0", "q0"], ["id", "d1", "q1"]])
    found = read_as(path, Reading("[2]", "[1]", where="row[2] != 'q1'"))
    assert (found.pairs, found.dropped) == ([("q0", "d0", [])], {"not as where says": 1})
    assert read_as(path, Reading("[2]", "[1]")).pairs == [("q0", "d0", []), ("q1", "d1", [])]


NAMES = [
    (Reading("qestion", "answer", where="id > 0"), "there is no column 'qestion'"),
    (Reading("{question} {qestion}", "answer"), "there is no column 'qestion'"),
]
OF_TABLES = [
    (Reading("question", "answer", negatives="ngatives"), "there is no column 'ngatives'"),
    (Reading(where="ide != 3"), "there is no column 'ide'"),
]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
@pytest.mark.parametrize(("reading", "message"), NAMES + OF_TABLES)
def test_names_that_are_not_there_are_told(tmp_path, suffix, reading, message):
    path = tmp_path / f"x{suffix}"
    if suffix == ".csv":
        path.write_text("id,question,answer\n1,q,a\n")
    else:
        write(path, [{"id": 1, "question": "q", "answer": "a"}])
    if suffix == ".jsonl" and (reading, message) in OF_TABLES:
        assert read_as(path, reading).pairs == [("q", "a", [])]  # other rows may have it
        return
    with pytest.raises(RunError, match=f"{message}; there are 'id', 'question', 'answer'"):
        read_as(path, reading)


def test_a_name_that_is_there_twice_is_told(tmp_path):
    (tmp_path / "x.csv").write_text("question,answer,answer\nq,a,b\n")
    columns = [pa.array(["q"]), pa.array(["a"]), pa.array(["b"])]
    pq.write_table(pa.Table.from_arrays(columns, ["question", "answer", "answer"]), tmp_path / "x.parquet")
    for name in ("x.csv", "x.parquet"):
        with pytest.raises(RunError, match="the column 'answer' is there twice"):
            read_as(tmp_path / name, Reading("{question}?", "answer"))


def test_columns_of_parquet_with_dots_in_their_names(tmp_path):
    path = write(tmp_path / "x.parquet", [{"body.text": "d", "q": "q", "id": 1}])
    found = read_as(path, Reading("q", "body.text", where="id == 1"))
    assert (found.pairs, found.unused) == ([("q", "d", [])], {})


def test_values_without_rows_and_fields_that_are_no_texts_are_counted(tmp_path):
    path = write(
        tmp_path / "x.jsonl", [{"items": [{"q": "q", "d": {"a": 1}}]}, {"itms": []}, 5, {"items": {}}]
    )
    found = read_as(path, Reading("q", "{d}", rows="items[]"))
    assert found.pairs == []
    assert found.dropped == {"without rows where the path says": 3, "not text": 1}
