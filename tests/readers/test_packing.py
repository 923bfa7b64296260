"""What of a folder or an archive is read, and as which format, where names do not tell."""

import gzip
import json
import zipfile

import pytest

from gte_ray.data.units import cut
from gte_ray.errors import RunError, UsageError
from gte_ray.readers.reading import Reading
from gte_ray.readers.spec import SourceSpec
from tests.readers.reading import parquet, read_as

ROWS = [{"query": f"q{number}", "document": f"d{number}"} for number in range(3)]
PAIRS = [(f"q{number}", f"d{number}", []) for number in range(3)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


@pytest.mark.parametrize("name", ["shard-0.gz", "shard-0", "RC_2019-01.txt", "corpus.tsv"])
def test_a_format_that_the_name_does_not_tell(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(gzip.compress(LINES) if name.endswith(".gz") else LINES)
    reading = Reading(format="json")
    assert read_as(path, reading).pairs == PAIRS
    files, others = SourceSpec("a", str(tmp_path / "*"), "code", reading).files()
    assert ([file.uri for file in files], others) == ([str(path)], {})
    assert len(cut(files, reading)) == 1


def test_members_of_an_archive(tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("set/queries.jsonl", '{"_id": "1", "text": "x"}\n')
        archive.writestr("set/corpus.jsonl", LINES)
        archive.writestr("set/more/corpus.jsonl", LINES)
    found = read_as(path, Reading(members="corpus.jsonl"))
    assert found.pairs == PAIRS * 2
    assert found.unused == {"the file set/queries.jsonl": 1}
    assert read_as(path, Reading(members="set/corpus.*")).pairs == PAIRS
    with pytest.raises(RunError, match=r"there are set/queries\.jsonl, .*; allowed are other\.jsonl"):
        read_as(path, Reading(members="other.jsonl"))


def test_files_that_are_left_out(tmp_path):
    for name in ("a.jsonl", "b.jsonl", "stackoverflow.jsonl"):
        (tmp_path / name).write_bytes(LINES)
    spec = SourceSpec("a", str(tmp_path / "*.jsonl"), "code", exclude="stack*")
    assert [file.uri for file in spec.files()[0]] == [str(tmp_path / name) for name in ("a.jsonl", "b.jsonl")]
    with pytest.raises(RunError, match="no file matches"):
        SourceSpec("a", str(tmp_path / "*.jsonl"), "code", exclude="*").files()


CONTENTS = {
    "x.jsonl": LINES,
    "x.csv": b"query,document\n" + b"".join(f"q{n},d{n}\n".encode() for n in range(3)),
    "x.parquet": parquet(query=["q0", "q1", "q2"], document=["d0", "d1", "d2"]),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_fields_of_the_file_that_a_row_lies_in(name, tmp_path):
    folder = tmp_path / "de"
    folder.mkdir()
    (folder / name).write_bytes(CONTENTS[name])
    found = read_as(folder / name, Reading("{@file}: {query}", "document", split_by="@folder"))
    assert found.pairs == [(f"{name}: q{number}", f"d{number}", [], "de") for number in range(3)]
    assert found.unused == {}
    assert read_as(folder / name, Reading("query", "document", where="row['@folder'] == 'de'")).pairs == PAIRS
    assert not read_as(folder / name, Reading(where="row['@file'] != " + repr(name))).pairs
    assert read_as(folder / name, Reading("@file", "document")).pairs[0][:2] == (name, "d0")


def test_fields_of_the_file_of_rows_inside_one_value_and_inside_an_archive(tmp_path):
    path = tmp_path / "site.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.json", json.dumps({"file": "its own", "rows": ROWS}))
        archive.writestr("top.json", json.dumps({"file": "its own", "rows": ROWS[:1]}))
    reading = Reading("query", "{@folder} {@file} {^file} {document}", rows="rows[]")
    documents = [document for _, document, _ in read_as(path, reading).pairs]
    assert documents[0] == "x data.json its own d0"
    assert documents[3] == "site.zip top.json its own d0"


@pytest.mark.parametrize(
    ("uri", "file", "folder"),
    [
        ("s3://me:secret@bucket/a.jsonl", "a.jsonl", "bucket"),
        ("s3://bucket/site.tar.gz/./a.jsonl", "a.jsonl", "site.tar.gz"),
        ("https://a.example/de/a.jsonl?download=true", "a.jsonl", "de"),
        ("file:///data/de%20x/a.jsonl", "a.jsonl", "de x"),
        ("hf://datasets/me/set@main/de/a.jsonl", "a.jsonl", "de"),
        ("/a.jsonl", "a.jsonl", ""),
    ],
)
def test_the_names_of_a_file_and_its_folder_at_any_place(uri, file, folder):
    assert Reading("@file", "@folder").place(uri) == {"@file": file, "@folder": folder}


def test_files_in_several_places(tmp_path):
    for name in ("a/x.jsonl", "b/x.jsonl", "b/note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(LINES)
    globs = tuple(str(tmp_path / pattern) for pattern in ("b/*", "a/x.jsonl", "*/x.jsonl"))
    files, others = SourceSpec("s", globs, "code").files()
    assert [file.uri for file in files] == [str(tmp_path / name) for name in ("b/x.jsonl", "a/x.jsonl")]
    assert others == {".txt": 1}
    with pytest.raises(RunError, match=r"source s: no file matches .*/c/\*"):
        SourceSpec("s", (*globs, str(tmp_path / "c/*")), "code").files()


def test_a_format_that_there_is_not():
    with pytest.raises(UsageError, match="format is 'yaml'; allowed are parquet, json, csv, tsv, xml"):
        Reading(format="yaml")
