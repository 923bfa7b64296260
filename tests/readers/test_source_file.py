"""A file of sources in TOML means what its settings say, or is told in one sentence; previews and limits."""

import pytest

from gte_ray.data.prepare_store import prepare
from gte_ray.errors import RunError, UsageError
from gte_ray.readers.preview import preview
from gte_ray.readers.reading import Reading
from gte_ray.readers.source_file import read_source_file
from gte_ray.readers.spec import SourceSpec, parse_source
from tests.data.conftest import make_pairs, write_lines
from tests.data.preparing import pairs_of, rows_of
from tests.data.tickets import SETTINGS, TICKETS, write

TOML = """
[sources.tickets]
files = "{folder}/*.jsonl"
task = "community-qa"
query = "{{subject}}\\n{{body.text}}"
document = "answers[0].text"
negatives = "answers[1:].text"
where = "score >= 3 and lang == 'en'"
limit = 100

[sources.plain]
files = "x.tsv"
task = "news"
columns = ["query", "document"]
"""


def test_a_file_of_sources(tmp_path):
    (tmp_path / "sources.toml").write_text(TOML.format(folder=tmp_path))
    tickets, plain = read_source_file(str(tmp_path / "sources.toml"))
    assert tickets == SourceSpec("tickets", f"{tmp_path}/*.jsonl", "community-qa", SETTINGS, 100)
    assert plain == SourceSpec("plain", "x.tsv", "news", Reading(columns=("query", "document")))
    (tmp_path / "flag.toml").write_text('[sources.a]\nfiles="x"\ntask="code"\nquery="q"\ndocument="d.e"')
    assert read_source_file(str(tmp_path / "flag.toml")) == [parse_source("a=x:code:q,d.e")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[sources.a", "not a TOML file"),
        ("", "has no sources; each begins with a line such as"),
        ("[source.a]\nfiles='x'", "there is no setting 'source'; 'sources' is nearest"),
        (
            "[sources.a]\nfile='x'",
            "sources.a: there is no setting 'file'; 'files' is nearest; allowed are files, task",
        ),
        ("[sources.a]\nfiles='x'", "sources.a: has no task, which each source needs"),
        ("[sources.a]\nfiles='x'\ntask='poems'", "sources.a: task is 'poems'; allowed are web-page"),
        (
            "[sources.a]\nfiles='x'\ntask='code'\nlimit='3'",
            "sources.a: limit is '3'; allowed is a whole number",
        ),
        (
            "[sources.a]\nfiles='x'\ntask='code'\nlimit=-3",
            "sources.a: limit is -3; allowed is a number of pairs",
        ),
        ("[sources.a]\nfiles='x'\ntask='code'\ncolumns=[1]", "columns is [1]; allowed is a list of texts"),
        (
            "[sources.a]\nfiles=['x', 1]\ntask='code'",
            "files is ['x', 1]; allowed is a text or a list of texts",
        ),
        ("[sources.a]\nfiles=[]\ntask='code'", "files is []; allowed is a text or a list of texts"),
        ("[sources.a]\nfiles='x'\ntask='code'\nquery='q'", "sources.a: query and document are 'q' and ''"),
        ("[sources.a]\nfiles='x'\ntask='code'\nwhere='a = 1'", "sources.a: where is 'a = 1'"),
        (
            "[sources.a]\nfiles='x'\ntask='code'\nencoding='latin-99'",
            "encoding is 'latin-99'; allowed is one that",
        ),
        (
            "[sources.a]\nfiles='x'\ntask='code'\ndelimiter='::'",
            "delimiter is '::'; allowed is one character",
        ),
        (
            "[sources.a]\nfiles='x'\ntask='code'\nnegatives='n'",
            "negatives are named, but not query and document",
        ),
        ("[sources.a]\nfiles='x'\ntask='code'\njoin='b'", "join is 'b'; allowed is a table for each field"),
        ("[sources.a]\nfiles='x'\ntask='code'\njoin.b='c'", "sources.a.join.b is 'c'; allowed is a table"),
        (
            "[sources.a]\nfiles='x'\ntask='code'\njoin.b={files='x', on='y'}",
            "sources.a.join.b: has no key, which each join needs",
        ),
        (
            "[sources.a]\nfiles='x'\ntask='code'\njoin.b={files='x', on='y', keys='z'}",
            "sources.a.join.b: there is no setting 'keys'; 'key' is nearest",
        ),
        (
            "[sources.a]\nfiles='x'\ntask='code'\njoin.b={files='x', on='y', key='z', where='a ='}",
            "sources.a.join.b: where is 'a ='",
        ),
        ("[sources.a]\nfiles='x'\ntask='code'\nrows='.a'", "rows is '.a'; allowed is a path such as"),
        ("[sources.a]\nfiles='x'\ntask='code'\nquery='{q'\ndocument='d'", "has a single '{'"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(tmp_path, text, message):
    path = tmp_path / "sources.toml"
    path.write_text(text)
    with pytest.raises((RunError, UsageError)) as caught:
        read_source_file(str(path))
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_file_of_sources_that_is_missing(tmp_path):
    with pytest.raises(RunError, match=r"none\.toml: missing"):
        read_source_file(str(tmp_path / "none.toml"))


def test_a_preview_reads_the_beginning_of_a_source(tmp_path):
    write(tmp_path / "1.jsonl", TICKETS)
    (tmp_path / "2.jsonl").write_text("")
    found = preview(SourceSpec("t", f"{tmp_path}/*.jsonl", "code", SETTINGS), 1)
    assert [pair[:3] for pair in found.pairs] == [("s1\nb1", "a", ["n"])]
    assert (found.files, found.read, found.dropped) == (2, 5, {"not as where says": 2, "null": 1})


def test_a_preview_of_a_join_looks_its_first_rows_up(tmp_path):
    write_lines(tmp_path / "a.jsonl", [{"q": f"query {n}", "ref": n, "more": 1} for n in range(3)])
    write_lines(
        tmp_path / "b.jsonl", [{"id": n, "d": f"d{n}{text}", "s": n} for n in (0, 2) for text in "xy"]
    )
    write_lines(tmp_path / "c.jsonl", [{"d": "d2x", "e": "the end"}])
    path = tmp_path / "sources.toml"
    path.write_text(
        f"[sources.a]\nfiles='{tmp_path}/a.jsonl'\ntask='code'\nquery='q'\ndocument='{{b.d}} {{c.e}}'\n"
        f"join.b={{files='{tmp_path}/b.jsonl', on='ref', key='id', best='s'}}\n"
        f"join.c={{files='{tmp_path}/c.jsonl', on='b.d', key='d'}}\n"
    )
    found = preview(*read_source_file(str(path)), 3)
    assert [pair[:2] for pair in found.pairs] == [("query 2", "d2x the end")]
    assert (found.read, found.dropped) == (3, {"without b": 1, "without c": 1})
    assert found.unused == {"more": 1}


@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize("held_out_documents", [False, True])
def test_a_limit_is_a_sample_that_does_not_depend_on_the_order(tmp_path, held_out_documents, monkeypatch):
    monkeypatch.setattr("gte_ray.data.prepare_store.PART_ROWS", 100)
    rows = [(query, f"document {n % 700}") for n, (query, _) in enumerate(make_pairs(2_000))]
    stores = []
    for name, order in (("a", rows), ("b", rows[::-1])):
        path = write_lines(tmp_path / f"{name}.jsonl", [*order, *order[:50]])
        spec = SourceSpec("s", str(path), "code", limit=500)
        options = {"held_out_share": 0.2, "held_out_documents": held_out_documents}
        stores.append(prepare(str(tmp_path / f"store-{name}"), [spec], **options))
    first, second = (store.source("s") for store in stores)
    assert first.content == second.content
    kept = first.rows + first.held_out + first.dropped.get("document held out", 0)
    assert 440 < kept < 560
    assert first.read == 2_050 == kept + first.dropped["beyond the limit"] + first.dropped.get("duplicate", 0)
    assert 1_450 < first.dropped["beyond the limit"] < 1_610
    held_out = {document for _, document in pairs_of(stores[0].read_held_out("s", 999))}
    shared = sum(document in held_out for _, document in pairs_of(rows_of(stores[0], "s")))
    assert (shared, shared > 0) == (first.shared_documents, not held_out_documents)
    everything = prepare(str(tmp_path / "all"), [SourceSpec("s", str(tmp_path / "a.jsonl"), "code")])
    whole = pairs_of(rows_of(everything, "s")) | pairs_of(everything.read_held_out("s", 9_999))
    assert pairs_of(rows_of(stores[0], "s")) < whole


def test_what_is_dropped_is_shown_with_its_reasons(ray_local, tmp_path):
    rows = [["q", "d"], *([["q", None]] * 5), {"other": "x" * 500}, "[not json"]
    path = write_lines(tmp_path / "x.jsonl", rows[:-1])
    path.write_text(path.read_text() + "[not json\n")
    spec = SourceSpec("rows", str(path), "code")
    found = preview(spec, 3)
    assert found.examples == {
        "not a pair": ['{"other": "' + "x" * 60 + '..."}'],
        "not json": ["[not json"],
        "null": ['{"query": "q", "document": null}'] * 3,
    }
    with pytest.raises(RunError) as caught:
        prepare(str(tmp_path / "store"), [spec])
    sentence, *lines = str(caught.value).split("\n")
    assert sentence.startswith(
        "source rows: 7 of 8 rows are no pairs of texts (1 not a pair, 1 not json, 5 null)"
    )
    assert [line.split(":")[0].strip() for line in lines] == ["not a pair", "not json", *["null"] * 3]
    assert "not json: [not json" in lines[1]


def test_files_in_several_places_of_a_source_and_of_a_join(tmp_path):
    (tmp_path / "sources.toml").write_text("""
[sources.a]
files = ["x/*.jsonl", "y.csv"]
task = "code"
query = "q"
document = "answer.d"
join.answer = {files = ["z.jsonl", "w.jsonl"], on = "id", key = "id"}
""")
    (source,) = read_source_file(str(tmp_path / "sources.toml"))
    assert source.glob == ("x/*.jsonl", "y.csv")
    assert source.joins[0].files == ("z.jsonl", "w.jsonl")
