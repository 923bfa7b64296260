"""Every layout gives its pairs, rows that are none a count, and flags that are no source one sentence."""

import pytest

from gte_ray.errors import RunError, UsageError
from gte_ray.readers.chunks import read_pairs
from gte_ray.readers.formats import Piece
from gte_ray.readers.reading import Reading
from gte_ray.readers.spec import TASKS, SourceSpec, check_file, parse_source
from tests.readers.reading import json_lines, parquet, read

LAYOUTS = {
    "positives": (
        [{"query": "q", "pos": ["d1", "d2"], "neg": ["n", None, "", 3]}, {"query": "r", "pos": ["e"]}],
        [("q", "d1", ["n"]), ("q", "d2", ["n"]), ("r", "e", [])],
    ),
    "one negative as a text": (
        [{"query": "q", "pos": ["d"], "neg": "abc"}, {"query": "r", "pos": ["e"], "neg": 5}],
        [("q", "d", ["abc"]), ("r", "e", [])],
    ),
    "sets": ([{"set": ["a", "b", "c"]}], [("a", "b", []), ("b", "c", [])]),
    "triples": ([["a", "b", "n"]], [("a", "b", ["n"])]),
    "numbered negatives": (
        [{"query": "a", "positive": "b", "negative_1": "n", "negative_2": "m"}],
        [("a", "b", ["n", "m"])],
    ),
    "NLI triples": ([{"sent0": "a", "sent1": "b", "hard_neg": "n"}], [("a", "b", ["n"])]),
    "MEDI": (
        [
            {"query": ["find", "q"], "pos": ["take", "d"], "neg": ["leave", "n"], "task_id": 7},
            {"query": ["find", "r"], "pos": ["take", "e"], "neg": ["leave", None], "task_id": 7},
        ],
        [("q", "d", ["n"]), ("r", "e", [])],
    ),
    "BERRI": (
        [
            {
                "question": "find an answer [SEP] q",
                "answers": ["d"],
                "positive_ctxs": [{"title": "t", "text": "d"}, {"title": "t", "text": "e"}],
                "hard_negative_ctxs": [{"title": "t", "text": "h"}],
                "negative_ctxs": [{"title": "", "text": "n"}],
            },
            {"question": "no instruction", "positive_ctxs": [{"text": "d"}], "negative_ctxs": []},
        ],
        [("q", "d", ["h", "n"]), ("q", "e", ["h", "n"]), ("no instruction", "d", [])],
    ),
    "named triples": ([{"anchor": "a", "positive": "b", "negative": "n"}], [("a", "b", ["n"])]),
    "keys in another order": (
        [{"answer": "b", "question": "a"}, {"question": "c", "answer": "d"}],
        [("a", "b", []), ("c", "d", [])],
    ),
    "MEDI 2": (
        [
            {"query": ["find", "q"], "pos": [["take", "d"], ["take", "e"]], "neg": [["leave", "n"], ["m"]]},
            {"query": ["find", "r"], "pos": [["take", "f"]], "neg": [["leave", "o"]]},
        ],
        [("q", "d", ["n", "m"]), ("q", "e", ["n", "m"]), ("r", "f", ["o"])],
    ),
    "Tevatron": (
        [
            {
                "query_id": "1",
                "query": "q",
                "positive_passages": [{"docid": "1", "title": "t", "text": "d"}],
                "negative_passages": [{"docid": "2", "title": "t", "text": "n"}],
            }
        ],
        [("q", "d", ["n"])],
    ),
    "negatives as objects": (
        [{"query": "q", "pos": ["d"], "neg": [{"docid": "1", "title": "t", "text": "n"}]}],
        [("q", "d", ["n"])],
    ),
    "lists in known columns": (
        [{"anchor": "a", "positive": ["b", "c"], "negative": ["n"]}],
        [("a", "b", ["n"]), ("a", "c", ["n"])],
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_in_json_lines_and_parquet(name, tmp_path):
    rows, expected = LAYOUTS[name]
    (tmp_path / "file.jsonl").write_bytes(json_lines(*rows))
    assert read(tmp_path / "file.jsonl")[0] == expected
    if all(isinstance(row, dict) for row in rows) and "as a text" not in name:
        lists = [[t for t in row.get("neg") or [] if not isinstance(t, int)] for row in rows]
        columns = {key: [row.get(key) for row in rows] for key in rows[0]}
        if "neg" in columns:
            columns["neg"] = lists
        (tmp_path / "file.parquet").write_bytes(parquet(**columns))
        assert read(tmp_path / "file.parquet")[0] == expected


def test_named_columns_are_taken_over_known_ones(tmp_path):
    path = tmp_path / "file.parquet"
    path.write_bytes(parquet(query=["no"], document=["no"], pos=[["no"]], a=["q"], b=["d"]))
    assert read(path, ("a", "b"))[:3] == ([("q", "d", [])], {}, {"a, b"})


def test_rows_that_are_no_pair_of_texts_are_counted(tmp_path):
    path = tmp_path / "file.jsonl"
    rows = [["q", None], ["", "d"], [" \n", "d"], ["q", 5], [["q"], "d"], ["alone"], [*"four"], 7, "text"]
    deep = b"[" * 100_000 + b"\n"
    broken = b'["q\xff", "d"]\n["q\\ud800", "d"]\n{"query": \n\n' + deep
    path.write_bytes(json_lines(["q", "d"], *rows) + broken)
    found, dropped = read(path)[:2]
    assert found == [("q", "d", [])]
    expected = {"null": 1, "empty": 2, "not text": 2, "not a pair": 4, "not utf-8": 2, "not json": 2}
    assert dropped == expected


def test_an_incomplete_row_is_counted_and_does_not_stop_the_file(tmp_path):
    path = tmp_path / "file.jsonl"
    path.write_bytes(json_lines({"query": "q", "document": "d"}, {"query": "r"}, {"set": ["alone"]}))
    assert read(path)[:2] == ([("q", "d", [])], {"null": 2})
    path = tmp_path / "file.csv"
    path.write_text("query,document\nq,d\nshort\n\na,b,c\n")
    assert read(path)[:2] == ([("q", "d", [])], {"not a pair": 2})


def test_a_document_of_10_mb_and_chunks_of_bounded_size(tmp_path, monkeypatch):
    path = tmp_path / "file.jsonl"
    path.write_bytes(json_lines(["q", "x" * 10_000_000], ["r", "d"], ["", "d"]))
    assert [len(d) for _, d, _ in read(path)[0]] == [10_000_000, 1]
    monkeypatch.setattr("gte_ray.readers.chunks.CHUNK_CHARACTERS", 1_000)
    chunks = list(read_pairs(Piece(str(path)), Reading()))
    assert [len(chunk.table) for chunk in chunks] == [1, 1]
    assert chunks[1].dropped == {"empty": 1}


@pytest.mark.parametrize("name", ["file.parquet", "file.csv", "file.jsonl"])
def test_named_columns_that_are_not_there_are_found_before_the_work(name, tmp_path):
    content = {
        "parquet": parquet(query=["q"], text=["d"]),
        "csv": b"query,text\nq,d\n",
        "jsonl": json_lines({"query": "q", "text": "d"}),
    }
    (tmp_path / name).write_bytes(content[name.split(".")[1]])
    with pytest.raises(RunError, match="there is no column 'answer'; there are 'query', 'text'"):
        check_file(str(tmp_path / name), Reading("query", "answer"))


def test_sources_as_flags():
    assert parse_source("a.b-c=x/*.csv:code") == SourceSpec("a.b-c", "x/*.csv", "code")
    assert parse_source("a=s3://b/x=1/*.parquet:news:first name,second") == SourceSpec(
        "a", "s3://b/x=1/*.parquet", "news", Reading("first name", "second")
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "allowed is NAME=GLOB:TASK"),
        ("a=b", "allowed is NAME=GLOB:TASK"),
        ("a=b:poems", ", ".join(TASKS)),
        ("a=b:code:query", ", ".join(TASKS)),
        ("a=b:code:same,same", "two different ones"),
        ("..=b:code", "name is '..'; allowed are letters"),
        (".builtin=b:code", "name is '.builtin'; allowed are letters"),
    ],
)
def test_flags_that_are_no_source(text, message):
    with pytest.raises(UsageError) as caught:
        parse_source(text)
    assert message in str(caught.value)


def test_the_nine_tasks_of_table_1_and_the_five_that_table_12_adds():
    assert len(set(TASKS)) == len(TASKS) == 9 + 5


def test_globs(tmp_path):
    for name in ("b/2.jsonl", "a/1.jsonl", "a/notes.txt", "a/c/3.csv.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    found, others = SourceSpec("a", f"{tmp_path}/**/*", "code").files()
    assert others == {".txt": 1}
    assert [file.uri.removeprefix(f"{tmp_path}/") for file in found] == [
        "a/1.jsonl",
        "a/c/3.csv.gz",
        "b/2.jsonl",
    ]
    assert SourceSpec("a", f"file://{tmp_path}/a/*.jsonl", "code").files()
    with pytest.raises(RunError, match=r"source a: no file matches .*\.txt; allowed are \.parquet"):
        SourceSpec("a", f"{tmp_path}/a/*.txt", "code").files()


def test_a_hub_that_cannot_be_reached(monkeypatch):
    def away(pattern):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr("gte_ray.runtime.storage.glob", away)
    with pytest.raises(RunError, match=r"source a: hf://x/\* cannot be listed \(Name or service not known"):
        SourceSpec("a", "hf://x/*", "code").files()
