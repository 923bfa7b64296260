"""Rows off their layout are counted, what is not read is told, and what is unclear is refused."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gte_ray.errors import RunError
from gte_ray.readers.reading import Reading
from gte_ray.readers.spec import check_file
from tests.readers.reading import json_lines, read

GOOD = {
    "pairs": {"query": "q", "document": "d"},
    "positives": {"query": "q", "pos": ["d"], "neg": ["n"]},
    "sets": {"set": ["q", "d"]},
    "contexts": {"question": "q", "positive_ctxs": [{"text": "d"}], "hard_negative_ctxs": []},
    "passages": {"query": "q", "positive_passages": [{"text": "d"}], "negative_passages": []},
    "MEDI": {"query": ["i", "q"], "pos": ["i", "d"], "neg": ["i", "n"]},
}
OFF = {
    "pairs": [
        {"query": "q0", "id": 3},
        {"document": None, "query": "x"},
        {"query": "x", "neg": "a wrong answer"},
    ],
    "positives": [
        {"query": "x", "pos": "e", "neg": ["n"]},
        {"query": "x", "pos": None, "neg": ["n"]},
        {"query": "x", "neg": "a wrong answer"},
        {"query": "x", "pos": [], "neg": "a wrong answer"},
        {"query": "x", "pos": {"text": "e"}},
        {"query": "x", "pos": [["e"]]},
        {"set": ["a", "b"]},
    ],
    "sets": [
        {"set": None},
        {"set": "ab"},
        {"set": ["a"]},
        {"set": {"a": "b"}},
        {"query": "x", "document": "e"},
    ],
    "contexts": [
        {"question": "x", "positive_ctxs": None},
        {"question": "x", "positive_ctxs": "e"},
        {"question": "x", "hard_negative_ctxs": [{"text": "a wrong answer"}]},
        {"question": "x", "positive_ctxs": [{"title": "e"}]},
        {"question": ["x"], "positive_ctxs": [{"text": "e"}]},
    ],
    "passages": [
        {"query": "x", "positive_passages": []},
        {"query": "x", "negative_passages": [{"text": "e"}]},
    ],
    "MEDI": [
        {"query": [], "pos": ["i", "e"]},
        {"query": ["i", "x"], "pos": []},
        {"query": ["i", "x"], "pos": None, "neg": ["i", "e"]},
        {"query": ["i", "x"], "neg": ["i", "a wrong answer"]},
        {"query": ["i", ["x"]], "pos": ["i", "e"]},
        {"query": ["i", "x", "y"], "pos": ["i", "e"]},
    ],
}


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(("name", "row"), [(name, row) for name, rows in OFF.items() for row in rows])
def test_a_row_off_the_layout_is_counted_and_the_others_stay(name, row, place, tmp_path):
    rows = [GOOD[name]] * 2
    rows.insert(place, row)
    (tmp_path / "file.jsonl").write_bytes(json_lines(*rows))
    found = read(tmp_path / "file.jsonl")
    assert [pair[:2] for pair in found.pairs] == [("q", "d")] * 2
    assert sum(found.dropped.values()) == 1


def test_an_odd_row_does_not_decide_for_all_others(tmp_path):
    pairs = [{"query": f"q{i}", "document": f"d{i}"} for i in range(30)]
    for odd in ({"set": ["a", "b"]}, {"query": "x", "pos": ["y"]}, {"query": "x", "document": ["y"]}):
        (tmp_path / "file.jsonl").write_bytes(json_lines(odd, *pairs))
        found = read(tmp_path / "file.jsonl")
        assert (len(found.pairs), sum(found.dropped.values())) == (30, 1)


VERDICTS = [
    "label",
    "labels",
    "Label",
    "score",
    "similarity_score",
    "isDuplicate",
    "is_duplicate",
    "gold_label",
    "relatedness_score",
    "entailment_judgment",
    "cos_sim",
    "is_impossible",
    "label_text",
    "cross_encoder_score",
    "target",
]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("name", VERDICTS)
def test_rows_that_may_say_that_they_are_no_pair_are_refused_or_named(name, kind, tmp_path):
    rows = [{"sentence1": "a", "sentence2": "b", name: 1.0}, {"sentence1": "a", "sentence2": "c", name: 0.0}]
    path = tmp_path / f"file.{kind}"
    if kind == "jsonl":
        path.write_bytes(json_lines(*rows))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([list(rows[0]), *(row.values() for row in rows)])
    with pytest.raises(
        RunError, match=f"the column '{name}' may say of a row that its texts do not belong"
    ) as caught:
        check_file(str(path), Reading())
    assert "NAME=GLOB:TASK:sentence1,sentence2" in str(caught.value)
    found = read(path, ("sentence1", "sentence2"))
    assert (len(found.pairs), found.unused) == (2, {name: 2})


def test_scores_that_are_no_verdict_are_told_and_not_refused(tmp_path):
    row = {
        "query": "q",
        "pos": ["d"],
        "neg": ["n"],
        "positive_scores": [1.0],
        "language_score": 0.9,
        "type": "x",
    }
    (tmp_path / "file.jsonl").write_bytes(json_lines(row))
    found = read(tmp_path / "file.jsonl")
    assert found.pairs == [("q", "d", ["n"])]
    assert found.unused == {"positive_scores": 1, "language_score": 1, "type": 1}


def test_a_number_after_a_pair_in_a_list_may_be_a_label(tmp_path):
    (tmp_path / "file.jsonl").write_bytes(
        json_lines(["a", "b", 0], ["a", "b", 0.5], ["a", "b", None], ["a", "b", "n"])
    )
    found = read(tmp_path / "file.jsonl")
    assert found.pairs == [("a", "b", []), ("a", "b", ["n"])]
    assert found.dropped == {"not a pair": 2}


UNCLEAR = [
    {"_id": "q1", "text": "capital of norway"},
    {"id": "1", "title": "a"},
    {"a": "q", "b": "d"},
    {"question": "q", "context": "c", "answer": "a"},
    {"query": "q", "neg": "n"},
    {"questions": {"text": ["q", "d"]}, "x": "y"},
    {"query": "q", "Query": "p", "document": "d"},
    {"premise": "a", "hypothesis": "b"},
    {"x\x1b[31m\n\ud800": "a", "": "b"},
]


@pytest.mark.parametrize("row", UNCLEAR)
def test_columns_are_never_guessed(row, tmp_path):
    (tmp_path / "file.jsonl").write_bytes(json_lines(row, row))
    with pytest.raises(RunError) as caught:
        check_file(str(tmp_path / "file.jsonl"), Reading())
    message = str(caught.value)
    assert ("cannot tell queries from documents" in message) or ("is there twice" in message)
    assert message.isprintable()
    message.encode()


KNOWN = [
    ("query", "pos"),
    ("question", "context"),
    ("query", "response"),
    ("title", "abstract"),
    ("text1", "text2"),
]


@pytest.mark.parametrize(("query", "document"), KNOWN)
def test_known_names_in_either_order(query, document, tmp_path):
    for row in ({query: "q", document: "d"}, {document: "d", query: "q"}):
        (tmp_path / "file.jsonl").write_bytes(json_lines(row))
        assert read(tmp_path / "file.jsonl").pairs == [("q", "d", [])]


def test_lost_negatives_and_parts_of_rows_that_are_not_read_are_told(tmp_path):
    rows = [
        {"query": ["find", "q"], "pos": ["take", "d"], "neg": ["a", "b", "c"]},
        {"query": ["find", "q"], "pos": ["take", "d"], "neg": [5, ""], "task_id": 1},
    ]
    (tmp_path / "medi.jsonl").write_bytes(json_lines(*rows))
    found = read(tmp_path / "medi.jsonl")
    assert found.pairs == [("q", "d", []), ("q", "d", [])]
    assert found.lost_negatives == {"not text": 1, "empty": 1}
    assert found.unused == {"instruction": 2, "task_id": 1}
    row = {
        "question": "find [SEP] q",
        "positive_ctxs": [{"text": "d", "title": "t", "score": 3}],
        "negative_ctxs": [{"text": "n"}, {"title": "no text"}],
    }
    (tmp_path / "berri.jsonl").write_bytes(json_lines(row))
    found = read(tmp_path / "berri.jsonl")
    assert found.pairs == [("q", "d", ["n"])]
    assert found.lost_negatives == {"not text": 1}
    assert found.unused == {"instruction": 1, "positive_ctxs.title": 1, "positive_ctxs.score": 1}


def test_a_name_twice_in_an_object_is_counted(tmp_path):
    twice, good = '{"query": "a", "query": "b", "document": "d"}', '{"query": "q", "document": "d"}'
    (tmp_path / "lines.jsonl").write_text(f"{twice}\n{good}\n")
    (tmp_path / "array.json").write_text(f"[{twice}, {good}]")
    for name in ("lines.jsonl", "array.json"):
        assert read(tmp_path / name)[:2] == ([("q", "d", [])], {"a name twice": 1})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4) | st.just("text"), inner, max_size=3)
    ),
    max_leaves=6,
)


def texts_of(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from (key, *texts_of(item))
    elif isinstance(value, list):
        for item in value:
            yield from texts_of(item)


@st.composite
def changed_rows(draw):
    """Rows of one layout with any value in some places, with and without keys, and rows of anything."""
    row = draw(st.sampled_from(list(GOOD.values())))
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        changed = json.loads(json.dumps(row))
        for key in draw(st.lists(st.sampled_from(list(row)), max_size=2)):
            place = changed.get(key)
            if isinstance(place, list) and place and draw(st.booleans()):
                place[draw(st.integers(0, len(place) - 1))] = draw(JSON)
            elif draw(st.integers(0, 3)):
                changed[key] = draw(JSON)
            else:
                changed.pop(key, None)
        rows.append(changed)
    return rows + draw(st.lists(JSON, max_size=2))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=changed_rows())
def test_any_json_gives_pairs_of_its_own_texts_or_counts_or_one_sentence(rows, tmp_path):
    """Every row gives pairs or is counted; no text is made up."""
    known = [text for row in rows for text in texts_of(row)]
    for name, content in (("f.jsonl", json_lines(*rows)), ("f.json", json.dumps([{}, *rows]).encode())):
        (tmp_path / name).write_bytes(content)
        try:
            found = read(tmp_path / name)
        except RunError as error:
            assert "\n" not in str(error)
            continue
        assert len(found.pairs) + sum(found.dropped.values()) >= len(rows)
        for query, document, negatives in found.pairs:
            assert all(any(text in one for one in known) for text in (query, document, *negatives))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200) | st.text(max_size=80).map(lambda t: f"query,document\n{t}".encode()))
@pytest.mark.parametrize("name", ["f.csv", "f.tsv", "f.jsonl", "f.json", "f.jsonl.gz", "f.parquet"])
def test_any_bytes_give_pairs_or_counts_or_one_sentence(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    try:
        found = read(tmp_path / name)
    except RunError as error:
        assert "\n" not in str(error)
    else:
        assert all(text for pair in found.pairs for text in pair[:2])
