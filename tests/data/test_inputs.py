"""What a store is made of: sources with pairs, those that are added and taken out, and what of them is not read."""

from dataclasses import replace
from pathlib import Path

import pytest

from gte_ray.data.ids import Ids
from gte_ray.data.prepare_store import prepare
from gte_ray.data.store import open_store
from gte_ray.errors import RunError, UsageError
from gte_ray.readers.reading import Reading
from gte_ray.readers.spec import SourceSpec
from tests.data.conftest import make_pairs, write_lines

pytestmark = pytest.mark.usefixtures("ray_local")


def small(name: str, folder: Path) -> SourceSpec:
    """A source of 40 pairs that no other name has."""
    rows = make_pairs(40, seed=sum(name.encode()))
    return SourceSpec(name, str(write_lines(folder / f"{name}.jsonl", rows)), "code")


NESTED = [{"questions": {"text": ["q", "d"]}}] * 3
NO_PAIRS = [
    (
        [["", "d"], ["q", None]],
        None,
        r"none of 2 rows is a pair of texts \(1 empty, 1 null\)",
        ['  empty: {"query": "", "document": "d"}', '  null: {"query": "q", "document": null}'],
    ),
    (NESTED, ("questions", "questions2"), "there is no column 'questions2'", []),
    (
        [{"a": {"text": "q"}, "b": "d"}] * 5,
        ("a", "b"),
        r"none of 5 rows is a pair of texts \(5 not text\)",
        ['  not text: {"query": {"text": "q"}, "document": "d"}'] * 3,
    ),
    ([], None, "there are no rows", []),
]


@pytest.mark.parametrize(("rows", "columns", "message", "shown"), NO_PAIRS)
def test_a_source_without_a_pair_is_refused_and_the_others_stay(rows, columns, message, shown, tmp_path):
    bad = SourceSpec("bad", str(write_lines(tmp_path / "bad.jsonl", rows)), "code", Reading(*columns or ()))
    good = small("good", tmp_path)
    with pytest.raises(RunError, match=message) as caught:
        prepare(str(tmp_path / "store"), [good, bad])
    sentence, *examples = str(caught.value).split("\n")
    assert "bad" in sentence
    assert examples == shown
    calls: list[str] = []
    prepare(str(tmp_path / "store"), [good], report=lambda phase, pairs: calls.append(phase))
    assert "reading good" not in calls or "there is no column" in message


def test_a_source_most_of_whose_rows_are_no_pairs_is_refused_unless_that_is_allowed(tmp_path):
    rows = [["q", "d"], ["", "d"], ["q", None], ["r", "e"], ["s", ""]]
    source = SourceSpec("s", str(write_lines(tmp_path / "s.jsonl", rows)), "code")
    uri, calls = str(tmp_path / "store"), []
    with pytest.raises(
        RunError, match=r"3 of 5 rows are no pairs of texts \(2 empty, 1 null\), .* --allow-drops"
    ):
        prepare(uri, [source])
    store = prepare(uri, [replace(source, allow_drops=True)], report=lambda phase, pairs: calls.append(phase))
    assert calls == ["sorting s"]  # the rows are not read again
    assert store.source("s").dropped == {"empty": 2, "null": 1}
    assert prepare(uri, [source]).source("s") == store.source("s")
    chosen = replace(source, reading=Reading("[0]", "[1]", where="row['x'] == 3"))
    with pytest.raises(RunError, match="none of 5 rows is a pair"):
        prepare(str(tmp_path / "none"), [chosen])


def test_rows_that_are_left_out_by_a_field_that_they_lack_are_not_lost(tmp_path):
    rows = [{"q": f"q{number}", "d": f"d{number}", "x": number} for number in range(9)]
    path = str(write_lines(tmp_path / "s.jsonl", rows))
    source = SourceSpec("s", path, "code", Reading("q", "d", where="x > 6 and not redirect"))
    info = prepare(str(tmp_path / "store"), [source]).source("s")
    assert info.dropped == {"not as where says (no row at the beginning has 'redirect')": 7}
    misspelt = replace(source, reading=Reading("q", "d", where="redirekt"))
    with pytest.raises(
        RunError, match=r"none of 9 rows is a pair .* \(no row at the beginning has 'redirekt'\)"
    ):
        prepare(str(tmp_path / "none"), [misspelt])


def test_a_store_is_added_to_and_taken_from(tmp_path):
    uri, first, second = str(tmp_path / "store"), small("first", tmp_path), small("second", tmp_path)
    ids = Ids(vocabulary=300, max_length=16)
    alone = prepare(uri, [first], seed=3, held_out_share=0.25, ids=ids).manifest
    added = prepare(uri, [second]).manifest
    assert [source.name for source in added.sources] == ["first", "second"]
    assert (added.seed, added.held_out_share) == (3, 0.25)
    assert added.sources[0] == alone.sources[0]
    assert added.tokenizer == alone.tokenizer is not None
    both = prepare(str(tmp_path / "both"), [first, second], seed=3, held_out_share=0.25)
    assert open_store(uri).fingerprint == both.fingerprint
    for change in ({"seed": 4}, {"held_out_share": 0.5}):
        with pytest.raises(
            UsageError, match=r"with --seed 3 --held-out 0.25 --held-out-rows 10000, and keeps first"
        ):
            prepare(uri, [second], **change)
    with pytest.raises(
        UsageError, match="--remove third: the store has no such source; it has first, second"
    ):
        prepare(uri, [], remove=["third"])
    left = prepare(uri, [], remove=["first"]).manifest
    assert left.sources == added.sources[1:]
    assert not [path for path in Path(uri).iterdir() if path.name.startswith("first")]


def test_what_is_not_read_is_in_the_manifest(tmp_path):
    rows = [{"query": f"q{i}", "document": "d", "id": i, "neg": [i]} for i in range(5)]
    source = SourceSpec("s", str(write_lines(tmp_path / "s.jsonl", rows)), "code")
    info = prepare(str(tmp_path / "store"), [source]).source("s")
    assert (info.unused, info.lost_negatives) == ({"id": 5}, {"not text": 5})


def test_files_of_other_kinds_are_counted_and_a_folder_is_told(tmp_path):
    folder = tmp_path / "d"
    for name in ("notes.txt", "more.jsonl.br", "LICENSE"):
        folder.mkdir(exist_ok=True)
        (folder / name).write_text("")
    write_lines(folder / "x.jsonl", [["q", "d"]])
    info = prepare(str(tmp_path / "store"), [SourceSpec("s", f"{folder}/*", "code")]).source("s")
    assert info.skipped_files == {".txt": 1, ".br": 1, "LICENSE": 1}
    with pytest.raises(RunError, match=r"d is a folder; name its files, as by .*d/\*"):
        prepare(str(tmp_path / "store"), [SourceSpec("s", str(folder), "code")])
