"""Every format gives its pairs, and a file that is broken or of another kind one sentence."""

import gzip
import json

import numpy as np
import pyarrow as pa
import pytest
import zstandard

from tests.readers.reading import assert_one_sentence, comma_separated, json_lines, parquet, read

PAIRS = [("what is a river", "water, that flows"), ("naïve", "東京\nsecond line"), ('a "quoted" one', "tab")]
QUERIES, DOCUMENTS = map(list, zip(*PAIRS, strict=True))
BOM = b"\xef\xbb\xbf"
FILES = {
    "lists.jsonl": json_lines(*map(list, PAIRS)),
    "objects.jsonl": json_lines(*({"query": q, "document": d, "id": 1} for q, d in PAIRS)),
    "byte-order-mark.jsonl": BOM + json_lines(*map(list, PAIRS)),
    "packed.jsonl.gz": gzip.compress(json_lines(*map(list, PAIRS))),
    "packed.json.zst": zstandard.compress(json_lines(*map(list, PAIRS))),
    "comma.csv": comma_separated(("title", "body"), *PAIRS),
    "byte-order-mark.csv": BOM + comma_separated(("title", "body"), *PAIRS),
    "packed.csv.gz": gzip.compress(comma_separated(("title", "body"), *PAIRS)),
    "document-first.csv": comma_separated(("document", "query"), *((d, q) for q, d in PAIRS)),
    "Semicolons.CSV": comma_separated(("query", "document"), *PAIRS, delimiter=";"),
    "UPPER.JSONL.GZ": gzip.compress(json_lines(*map(list, PAIRS))),
    "packed-without-saying-so.jsonl": zstandard.compress(json_lines(*map(list, PAIRS))),
    "wide.csv": comma_separated(("query", "document"), *PAIRS).decode().encode("utf-16"),
    "wide.jsonl": json_lines(*({"query": q, "document": d} for q, d in PAIRS)).decode().encode("utf-16"),
    "wide-array.json": json.dumps([{"query": q, "document": d} for q, d in PAIRS]).encode("utf-16"),
    "array-of-lists.json": json.dumps(PAIRS).encode(),
    "known-names.parquet": parquet(id=[1, 2, 3], Question=QUERIES, answer=DOCUMENTS),
    "bytes.parquet": parquet(query=[q.encode() for q in QUERIES], document=DOCUMENTS),
    "dictionary.parquet": parquet(
        query=pa.array(QUERIES).dictionary_encode(), document=pa.array(DOCUMENTS, pa.large_string())
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_formats(name, tmp_path):
    (tmp_path / name).write_bytes(FILES[name])
    found = read(tmp_path / name)
    assert found.pairs == [(q, d, []) for q, d in PAIRS]
    assert not found.dropped


def test_tab_separated_files_carry_quotes_as_they_are(tmp_path):
    path = tmp_path / "tab.tsv"
    lines = ["query\tdocument", '"open quote\td1', '"whole" word\td2', "q3\td3"]
    path.write_text("\n".join(lines) + "\n")
    assert [row[:2] for row in read(path)[0]] == [tuple(line.split("\t")) for line in lines[1:]]


@pytest.mark.parametrize("read_at_once", [1, 7, 2**20])
@pytest.mark.parametrize("indent", [None, 1])
def test_one_json_array_of_objects_is_read_row_by_row(indent, read_at_once, tmp_path, monkeypatch):
    monkeypatch.setattr("gte_ray.readers.json_rows.ARRAY_CHARACTERS", read_at_once + 2)
    path = tmp_path / "file.json"
    rows = [{"query": q, "document": d} for q, d in PAIRS]
    path.write_bytes(BOM + json.dumps([rows[0], 5, *rows[1:]], indent=indent).encode())
    assert read(path)[:2] == ([(q, d, []) for q, d in PAIRS], {"not a pair": 1})


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary()])
def test_parquet_bytes_that_are_no_utf8(kind, tmp_path):
    offsets = np.array([0, 2, 3], np.int64 if kind == pa.large_string() else np.int32)
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"a\xffb")]
    bad = pa.Array.from_buffers(kind, 2, buffers)
    (tmp_path / "plain.parquet").write_bytes(parquet(query=bad, document=["d1", "d2"]))
    assert read(tmp_path / "plain.parquet")[:2] == ([("b", "d2", [])], {"not utf-8": 1})
    if kind == pa.string():
        lists = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), bad)
        (tmp_path / "lists.parquet").write_bytes(parquet(query=["q1", "q2"], pos=lists))
        assert read(tmp_path / "lists.parquet")[:2] == ([("q2", "b", [])], {"not utf-8": 1})


CUT = gzip.compress(json_lines(*([f"q{i}", np.random.default_rng(i).bytes(30).hex()] for i in range(4000))))
PARQUET = parquet(query=QUERIES, document=DOCUMENTS)
UNREADABLE = {
    "cut.jsonl.gz": (CUT[: len(CUT) // 2], "cannot be read to its end"),
    "not-packed.jsonl.gz": (json_lines(["q", "d"]), "cannot be read to its end"),
    "cut.parquet": (PARQUET[:-20], "not a whole Parquet file"),
    "empty.parquet": (b"", "not a whole Parquet file"),
    "middle.parquet": (PARQUET[:10] + b"\xff" * 60 + PARQUET[70:], "cannot be read to its end"),
    "three.jsonl": (json_lines({"a": "q", "b": "d", "c": "e"}), "columns 'a', 'b', 'c'; name them"),
    "two-choices.csv": (
        b"query,document,title,body\n1,2,3,4\n",
        "columns 'query', 'document', 'title', 'body'",
    ),
    "one.parquet": (parquet(a=["q"]), "columns 'a'; name them"),
    "twice.csv": (b"query,query\nq,d\n", "columns 'query', 'query'; name them"),
    "object.json": (json.dumps({"query": "q", "document": "d"}, indent=1).encode(), "is one JSON value"),
    "array.json": (json.dumps([{"query": "q", "document": "d"}] * 2)[:-5].encode(), "cut off or broken"),
    "pointer.jsonl": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n",
        "git lfs pull",
    ),
    "pointer.csv": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n", "git lfs pull"),
    "pointer.parquet": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n",
        "git lfs pull",
    ),
    "archive.jsonl": (b"PK\x03\x04" + bytes(40), "its name has to end with .zip"),
    "table.jsonl": (b"PAR1" + bytes(40), "has to end with .parquet"),
    "no-mark.jsonl": (b'{"query": "q"}\n'.decode().encode("utf-16-le"), "is not UTF-8"),
    "names.csv": ("Requête,Réponse\nq1,d1\n".encode("latin-1"), "names of its columns are not UTF-8"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_named(name, tmp_path):
    assert_one_sentence(tmp_path / name, *UNREADABLE[name])
