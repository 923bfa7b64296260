"""Joined rows are those of a join by hand, whatever the sizes and kills; what finds no partner is told."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from gte_ray.data import join as joining
from gte_ray.data import shuffle as shuffling
from gte_ray.data.prepare_store import prepare
from gte_ray.errors import RunError
from gte_ray.readers.join import Join, best_rows
from gte_ray.readers.reading import Reading
from gte_ray.readers.spec import SourceSpec
from gte_ray.runtime.pool import run_tasks
from tests.data.conftest import make_pairs, write_lines
from tests.data.preparing import files, pairs_of, phases, rows_of

pytestmark = pytest.mark.usefixtures("ray_local")

POSTS = """<posts>
<row Id="1" PostTypeId="1" AcceptedAnswerId="3" Title="How to join?" Body="&lt;p&gt;Tell me&lt;/p&gt;" Score="5" />
<row Id="2" PostTypeId="2" ParentId="1" Body="&lt;p&gt;Badly&lt;/p&gt;" Score="9" />
<row Id="3" PostTypeId="2" ParentId="1" Body="&lt;p&gt;By a key&lt;/p&gt;" Score="10" />
<row Id="4" PostTypeId="1" Title="Nobody knows" Body="?" Score="1" />
<row Id="5" PostTypeId="1" AcceptedAnswerId="99" Title="Deleted" Body="?" Score="1" />
<row Id="6" PostTypeId="1" AcceptedAnswerId="7" Title="Two?" Body="&lt;b&gt;Which&lt;/b&gt;" Score="1" />
<row Id="7" PostTypeId="2" ParentId="6" Body="This" Score="-2" />
<row Id="8" PostTypeId="2" ParentId="6" Body="That" Score="0" />
</posts>"""


def all_pairs(store) -> set[tuple[str, str]]:
    names = [info.name for info in store.manifest.sources]
    tables = [rows_of(store, name) for name in names] + [store.read_held_out(name, 10**6) for name in names]
    return {pair for table in tables for pair in pairs_of(table)}


def posts(folder: Path, **settings) -> SourceSpec:
    (folder / "Posts.xml").write_text(POSTS)
    path = str(folder / "Posts.xml")
    join = Join("answer", path, **settings)
    reading = Reading("{Title}\n{Body|plain}", "answer.Body|plain", rows="row", where="PostTypeId == 1")
    return SourceSpec("superuser", path, "community-qa", reading, joins=(join,))


def test_questions_get_their_accepted_answers(tmp_path):
    source = posts(tmp_path, on="AcceptedAnswerId", key="Id", reading=Reading(rows="row"))
    store = prepare(str(tmp_path / "store"), [source])
    assert all_pairs(store) == {("How to join?\nTell me", "By a key"), ("Two?\nWhich", "This")}
    info = store.source("superuser")
    assert info.dropped == {"not as where says": 4, "without answer": 2}
    assert info.read == 8
    assert set(info.unused) == {"Id", "Score"}


def test_a_key_of_several_fields_needs_all_of_them(tmp_path):
    """A question without an accepted answer is not joined with rows that have no parent."""
    here = {"on": "{@file} {AcceptedAnswerId}", "key": "{@file} {ParentId}"}
    source = posts(tmp_path, **here, reading=Reading(rows="row"))
    joined = replace(source.joins[0], key="{@file} {Id}")
    store = prepare(str(tmp_path / "store"), [replace(source, joins=(joined,))])
    assert all_pairs(store) == {("How to join?\nTell me", "By a key"), ("Two?\nWhich", "This")}
    assert store.source("superuser").dropped == {"not as where says": 4, "without answer": 2}
    with pytest.raises(RunError, match=r"none of 8 rows is a pair .*4 without answer"):
        prepare(str(tmp_path / "none"), [source])


def test_questions_get_their_best_answers_by_number(tmp_path):
    answers = Reading(rows="row", where="PostTypeId == 2")
    source = posts(tmp_path, on="Id", key="ParentId", best="Score", reading=answers)
    store = prepare(str(tmp_path / "store"), [source])
    assert all_pairs(store) == {("How to join?\nTell me", "By a key"), ("Two?\nWhich", "That")}


def beir(folder: Path) -> SourceSpec:
    """BEIR's packing: judgements, queries and passages in one archive."""
    corpus = [{"_id": f"d{n}", "title": f"title {n}", "text": f"text {n}"} for n in range(5)]
    with zipfile.ZipFile(folder / "fever.zip", "w") as archive:
        for name, rows in (
            ("corpus", corpus),
            ("queries", [{"_id": f"{n}", "text": f"claim {n}"} for n in range(3)]),
        ):
            archive.writestr(f"fever/{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        lines = ["query-id\tcorpus-id\tscore", "0\td1\t1", "1\td2\t0", "2\td4\t1", "2\td9\t1", "0\td3\t1"]
        archive.writestr("fever/qrels/train.tsv", "\n".join(lines) + "\n")
    path = str(folder / "fever.zip")
    claim = Join("claim", path, on="query-id", key="_id", reading=Reading(members="queries.jsonl"))
    passage = Join("passage", path, on="corpus-id", key="_id", reading=Reading(members="corpus.jsonl"))
    reading = Reading(
        "claim.text", "{passage.title}. {passage.text}", where="score > 0", members="qrels/train.tsv"
    )
    return SourceSpec(
        "fever", path, "fact-verification", replace(reading, members="train.tsv"), joins=(claim, passage)
    )


def test_judgements_get_queries_and_passages(tmp_path):
    store = prepare(str(tmp_path / "store"), [beir(tmp_path)])
    assert all_pairs(store) == {
        ("claim 0", "title 1. text 1"),
        ("claim 0", "title 3. text 3"),
        ("claim 2", "title 4. text 4"),
    }
    assert store.source("fever").dropped == {"not as where says": 1, "without passage": 1}


def papers(folder: Path, rows: int = 200) -> tuple[SourceSpec, set[tuple[str, str]]]:
    """Citations of papers, and the pairs that they are by hand; a tenth of the papers is not there."""
    texts = [query for query, _ in make_pairs(rows, seed=3)]
    cited = [(7 * n) % rows for n in range(rows)]
    write_lines(
        folder / "papers.jsonl", [{"id": n, "title": f"{texts[n]} é{n}"} for n in range(rows) if n % 10]
    )
    for part in range(2):
        lines = [{"says": f"see {n}", "cites": str(cited[n])} for n in range(part, rows, 2)]
        write_lines(folder / f"citations-{part}.jsonl", lines)
    join = Join("paper", str(folder / "papers.jsonl"), on="cites", key="id")
    reading = Reading("says", "paper.title")
    source = SourceSpec("papers", str(folder / "citations-*.jsonl"), "academic-paper", reading, joins=(join,))
    wanted = {(f"see {n}", f"{texts[cited[n]]} é{cited[n]}") for n in range(rows) if cited[n] % 10}
    return source, wanted


def test_many_ranges_and_runs_give_the_same_bytes(tmp_path, monkeypatch):
    source, wanted = papers(tmp_path)
    one = prepare(str(tmp_path / "one"), [source])
    assert all_pairs(one) == wanted
    assert one.source("papers").dropped == {"without paper": 20}
    monkeypatch.setattr(joining, "RANGE_BYTES", 2_000)
    monkeypatch.setattr(shuffling, "RUN_BYTES", 1_000)
    ranges: list[int] = []

    def counted(jobs, function):
        ranges.append(len(jobs))
        return run_tasks(jobs, function)

    monkeypatch.setattr(joining, "run_tasks", counted)
    many = prepare(str(tmp_path / "many"), [source])
    assert files(tmp_path / "many") == files(tmp_path / "one")
    assert many.source("papers").dropped == one.source("papers").dropped
    assert ranges == [8]
    assert not list((tmp_path / "many").glob(".*"))


def test_a_call_that_is_cut_off_goes_on(tmp_path, monkeypatch):
    source, wanted = papers(tmp_path)
    monkeypatch.setattr(joining, "RANGE_BYTES", 2_000)
    store = str(tmp_path / "store")

    def cut_off(jobs, function):
        for number, result in enumerate(run_tasks(jobs, function)):
            if number == 3:
                raise RunError("cut off")
            yield result

    with monkeypatch.context() as patch:
        patch.setattr(joining, "run_tasks", cut_off)
        with pytest.raises(RunError, match="cut off"):
            prepare(store, [source])
    (folder,) = (tmp_path / "store/.sorting-papers").glob("join-*")
    done = {path.stem for path in (folder / "joined").glob("*.json")}
    assert len(done) >= 3
    written = {path: path.stat().st_mtime_ns for path in (folder / "these").glob("*.run")}
    ranges: list[int] = []

    def counted(jobs, function):
        ranges.append(len(jobs))
        return run_tasks(jobs, function)

    monkeypatch.setattr(joining, "run_tasks", counted)
    monkeypatch.setattr(
        shuffling, "run_tasks", lambda jobs, function: pytest.fail("shuffled again") if jobs else iter(())
    )
    assert all_pairs(prepare(store, [source])) == wanted
    assert written and len(ranges) == 1 and ranges[0] > 0
    calls: list[str] = []
    prepare(store, [source], report=phases(calls))
    assert calls == []


def test_changed_partners_are_another_input(tmp_path):
    source, _ = papers(tmp_path, 50)
    prepare(str(tmp_path / "store"), [source])
    write_lines(tmp_path / "papers.jsonl", [{"id": n, "title": f"new title {n}"} for n in range(50)])
    store = prepare(str(tmp_path / "store"), [source])
    assert {document.rsplit(" ", 1)[0] for _, document in all_pairs(store)} == {"new title"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": "nope"}, "papers.jsonl: there is no column 'nope'; there are 'id', 'title'"),
        ({"on": "nope"}, "citations-0.jsonl: there is no column 'nope'; there are 'says', 'cites'"),
        ({"name": "says"}, "rows have a field 'says' already; give the join another name"),
        ({"files": "{folder}/none.jsonl"}, "source papers: join.paper: no file matches"),
        ({"key": "title"}, "source papers: none of 50 rows is a pair of texts \\(50 without paper\\)"),
    ],
)
def test_what_cannot_be_joined_is_told(tmp_path, changes, message):
    source, _ = papers(tmp_path, 50)
    changes = {name: value.format(folder=tmp_path) for name, value in changes.items()}
    source = replace(source, joins=(replace(source.joins[0], **changes),))
    with pytest.raises(RunError, match=message):
        prepare(str(tmp_path / "store"), [source])


def test_keys_are_texts_and_whole_numbers_of_pandas_are_whole(tmp_path):
    write_lines(
        tmp_path / "a.jsonl",
        [{"q": f"query {n}", "ref": key} for n, key in enumerate([7.0, "007", True, None])],
    )
    write_lines(
        tmp_path / "b.jsonl",
        [{"id": 7, "d": "seven"}, {"id": "007", "d": "agent"}, {"id": "True", "d": "yes"}],
    )
    join = Join("found", str(tmp_path / "b.jsonl"), on="ref", key="id")
    source = SourceSpec("a", str(tmp_path / "a.jsonl"), "others", Reading("q", "found.d"), joins=(join,))
    store = prepare(str(tmp_path / "store"), [source])
    assert all_pairs(store) == {("query 0", "seven"), ("query 1", "agent")}
    assert store.source("a").dropped == {"without found": 2}


def test_of_equally_good_partners_the_first_is_taken():
    rows = [("a", "first", 2.0), ("b", "other", 0.0), ("a", "later", 2.0), ("a", "lower", 1.0)]
    assert best_rows(rows) == {"a": "first", "b": "other"}


def test_a_list_of_keys_is_a_row_for_each(tmp_path):
    write_lines(tmp_path / "a.jsonl", [{"q": "both", "refs": ["x", "y"]}, {"q": "none", "refs": []}])
    write_lines(tmp_path / "b.jsonl", [{"id": "x", "d": "an x"}, {"id": "y", "d": "a y"}])
    join = Join("found", str(tmp_path / "b.jsonl"), on="refs[]", key="id")
    source = SourceSpec("a", str(tmp_path / "a.jsonl"), "others", Reading("q", "found.d"), joins=(join,))
    store = prepare(str(tmp_path / "store"), [source])
    assert all_pairs(store) == {("both", "an x"), ("both", "a y")}
    assert store.source("a").dropped == {"not a pair": 1}
