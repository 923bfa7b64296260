"""Scores of a teacher that come with the pairs, in FlagEmbedding's layout or by path: kept, whatever the files."""

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gte_ray.cli.store_tables import preview_table, store_notes
from gte_ray.data import prepare_store as preparing
from gte_ray.data import sort, two_passes
from gte_ray.data.ids import Ids
from gte_ray.data.mixture import PlanSource
from gte_ray.data.prepare_store import prepare
from gte_ray.data.read import StreamConfig, read_batch
from gte_ray.errors import RunError, UsageError
from gte_ray.mining.choose import Window
from gte_ray.mining.mine_store import mine
from gte_ray.readers.preview import preview
from gte_ray.readers.reading import Reading
from gte_ray.readers.spec import SourceSpec
from gte_ray.retrieval.bm25 import BM25
from gte_ray.runtime.pool import Pool
from tests.data.conftest import write_lines
from tests.data.preparing import files
from tests.in_process import run_here
from tests.readers.reading import json_lines, read_as

NAMES = ("query", "document", "negatives", "score", "negative_scores")


def row(number: int, **changes) -> dict:
    """A row of FlagEmbedding's: two positives, three negatives, a score for each."""
    return {
        "query": f"query {number}",
        "pos": [f"near {number}", f"nearer {number}"],
        "neg": [f"far {number}", f"farther {number}", f"farthest {number}"],
        "pos_scores": [number + 1.5, number + 2.5],
        "neg_scores": [number - 1.25, number - 2.25, number - 3.25],
    } | changes


ROWS = [row(number) for number in range(60)]


def prepared(tmp_path, rows, name="store", **settings):
    source = SourceSpec("pairs", str(write_lines(tmp_path / f"{name}.jsonl", rows)), "others")
    return prepare(str(tmp_path / name), [source], held_out_share=0, **settings)


def by_pair(store) -> dict[tuple[str, str], tuple[float, dict[str, float]]]:
    """The score of each pair, and those of its negatives by text."""
    table = store.read_rows("pairs", 0, store.source("pairs").rows, list(NAMES))
    return {
        (r["query"], r["document"]): (
            r["score"],
            dict(zip(r["negatives"], r["negative_scores"], strict=True)),
        )
        for r in table.to_pylist()
    }


@pytest.mark.usefixtures("ray_local")
def test_scores_of_flag_embedding_come_into_the_store_and_into_batches(tmp_path):
    store = prepared(tmp_path, ROWS, ids=Ids(vocabulary=200, max_length=16))
    found = by_pair(store)
    assert len(found) == 120
    assert found["query 7", "near 7"][0] == 8.5
    assert found["query 7", "nearer 7"] == (
        9.5,
        {"far 7": 5.75, "farther 7": 4.75, "farthest 7": 3.75},
    )
    info = store.source("pairs")
    assert (info.teacher, info.unused, info.negatives) == ("its files", {}, 360)
    assert any("scores by its files" in note for note in store_notes(store))
    sources = (PlanSource("pairs", info.rows),)
    stream = StreamConfig(
        store.uri,
        sources,
        1.0,
        16,
        3,
        1,
        16,
        store.load_tokenizer(),
        stored_ids=True,
        group_size=3,
        teacher=True,
    )
    batch = read_batch(stream, store, stream.plan()[0])
    table = store.read_rows(
        "pairs", 0, info.rows, ["document_hash", "negative_hashes", *NAMES[3:]]
    ).to_pylist()
    known = {r["document_hash"]: r["score"] for r in table}
    assert batch.document_scores.tolist() == [known[h] for h in batch.document_hashes.tolist()]
    known = {h: s for r in table for h, s in zip(r["negative_hashes"], r["negative_scores"], strict=True)}
    assert batch.negative_scores.tolist() == [known[h] for h in batch.negative_hashes.tolist()]
    assert len(batch.negative_scores) == 32


@pytest.mark.usefixtures("ray_local")
def test_neither_order_nor_files_change_a_byte_and_the_highest_score_of_a_text_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "PART_ROWS", 32)
    again = [
        row(3, pos_scores=[0.25, 99.0], neg_scores=[50.0, None, -70.0]),
        row(4, pos_scores=None, neg_scores=None),
        {name: row(61)[name] for name in ("query", "pos", "neg")},
    ]
    one = prepared(tmp_path, [*ROWS, *again], "one")
    write_lines(tmp_path / "two" / "1.jsonl", again)
    pq.write_table(pa.Table.from_pylist(ROWS[::-1]), tmp_path / "two" / "2.parquet")
    source = SourceSpec("pairs", f"{tmp_path}/two/*", "others")
    two = prepare(str(tmp_path / "other"), [source], held_out_share=0)
    assert files(two.uri) == files(one.uri)
    assert len(files(one.uri)) >= 8
    # A run for each file, of which one has no scores at all.
    write_lines(tmp_path / "three" / "1.jsonl", [row for row in again if row.get("pos_scores") is None])
    write_lines(tmp_path / "three" / "2.jsonl", [*again[:1], *ROWS])
    run_here(monkeypatch, two_passes)
    monkeypatch.setattr(sort, "RUN_BYTES", 0)
    source = SourceSpec("pairs", f"{tmp_path}/three/*", "others")
    three = prepare(str(tmp_path / "runs"), [source], held_out_share=0)
    assert files(three.uri) == files(one.uri)
    found = by_pair(one)
    assert found["query 3", "near 3"] == (4.5, {"far 3": 50.0, "farther 3": 0.75, "farthest 3": -0.25})
    assert found["query 3", "nearer 3"][0] == 99.0
    assert found["query 4", "near 4"] == (5.5, {"far 4": 2.75, "farther 4": 1.75, "farthest 4": 0.75})
    score, negatives = found["query 61", "near 61"]
    assert math.isnan(score)
    assert len(negatives) == 3 and all(map(math.isnan, negatives.values()))


@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize("change", [{"pos_scores": [0.0, 1.0]}, {"neg_scores": [0.0, 0.0, 0.0]}])
def test_other_scores_of_the_same_pairs_make_another_store(change, tmp_path):
    before = prepared(tmp_path, ROWS)
    known = by_pair(before)
    after = prepared(tmp_path, [row(0, **change), *ROWS[1:]])
    assert after.fingerprint != before.fingerprint
    pair = ("query 0", "near 0")
    assert by_pair(after)[pair] != known[pair]
    assert {key: value for key, value in by_pair(after).items() if key[0] != "query 0"} == {
        key: value for key, value in known.items() if key[0] != "query 0"
    }


@pytest.mark.usefixtures("ray_local")
def test_of_a_split_source_those_parts_have_a_teacher_that_have_scores(tmp_path):
    rows = [{"q": f"q{i}", "d": f"d{i}", "kind": "ab"[i % 2], "s": i if i % 2 else None} for i in range(20)]
    path = write_lines(tmp_path / "file.jsonl", rows)
    reading = Reading("q", "d", split_by="kind", score="s")
    store = prepare(
        str(tmp_path / "store"), [SourceSpec("x", str(path), "others", reading)], held_out_share=0
    )
    assert {info.name: info.teacher for info in store.manifest.sources} == {"x.a": "", "x.b": "its files"}
    assert store.read_rows("x.b", 0, 10, ["score"]).num_rows == 10


def test_a_score_that_no_row_has_is_told(here, tmp_path):
    path = write_lines(tmp_path / "file.jsonl", [{"q": f"q{i}", "d": f"d{i}"} for i in range(20)])
    sources = tmp_path / "sources.toml"
    sources.write_text(f'[sources.x]\nfiles="{path}"\ntask="others"\nquery="q"\ndocument="d"\nscore="typo"\n')
    code, out, _ = here("prepare", str(tmp_path / "store"), "--sources", str(sources))
    assert code == 0
    assert "warning: x: no row has a score by 'typo'" in out


@pytest.mark.usefixtures("ray_local")
def test_mining_such_a_store_says_how_to_come_by_one_without_scores(tmp_path):
    store = prepared(tmp_path, ROWS)
    with pytest.raises(RunError, match="a store that was prepared without them: name query, document and"):
        mine(store, str(tmp_path / "out"), BM25, Window(1, 5, 2), Pool())


def test_scores_are_named_by_paths_and_each_has_its_text(tmp_path):
    rows = [
        {"q": "a", "docs": ["b", "c", "", "d"], "label": ["0.5", 0.25, 7, None]},
        {"q": "e", "docs": ["f", "g"], "label": [1, 2, 3]},
        {"q": "h", "docs": ["i", "j"], "label": [1, "much"]},
        {"q": "k", "docs": ["l", "m"], "label": [True, 1]},
        {"q": "n", "docs": ["o", "p"], "label": [1e39, 1]},
    ]
    (tmp_path / "file.jsonl").write_bytes(json_lines(*rows))
    reading = Reading("q", "docs[0]", "docs[1:]", score="label[0]", negative_scores="label[1:]")
    found = read_as(tmp_path / "file.jsonl", reading)
    assert found.pairs[0][:3] == ("a", "b", ["c", "d"])
    assert found.pairs[0][3] == 0.5
    np.testing.assert_array_equal(found.pairs[0][4], [0.25, np.nan])
    assert found.lost_negatives == {"empty": 1}
    assert found.dropped == {"with scores that are not one number for each text": 4}
    assert len(found.pairs) == 1


def test_a_row_whose_scores_are_too_few_is_dropped_and_shown(tmp_path):
    bad = [row(1, pos_scores=[1.0]), row(2, neg_scores=[1.0, 2.0]), row(3, pos_scores=[1.0, math.inf])]
    path = tmp_path / "file.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in [*ROWS[:5], *bad]))
    found = read_as(path, Reading())
    # Of the third row the first positive has its score.
    assert found.dropped == {"with scores that are not one number for each text": 3}
    assert (len(found.pairs), found.unused) == (11, {})


def test_what_is_there_for_no_score_is_none(tmp_path):
    (tmp_path / "file.csv").write_text("q,d,s\na,b,0.5\nc,e,\nf,g,nan\nh,i,-1e-50\n")
    found = read_as(tmp_path / "file.csv", Reading("q", "d", score="s"))
    np.testing.assert_array_equal([pair[3] for pair in found.pairs], [0.5, np.nan, np.nan, 0.0])
    assert not np.signbit(found.pairs[3][3])


@pytest.mark.parametrize(
    ("changes", "reading"),
    [
        ({"pos": "near 1", "pos_scores": [1.5]}, Reading()),
        ({"pos": ["near 1"], "pos_scores": 1.5, "": 0}, Reading()),
        ({"pos": ["near 1"], "pos_scores": [1.5]}, Reading(where="pos_scores[0] > 1")),
    ],
)
def test_scores_are_kept_whatever_the_row_looks_like(changes, reading, tmp_path):
    (tmp_path / "file.jsonl").write_bytes(json_lines(row(1, **changes)))
    (pair,) = read_as(tmp_path / "file.jsonl", reading).pairs
    assert pair[1:] == ("near 1", row(1)["neg"], 1.5, row(1)["neg_scores"])


def test_of_negatives_in_two_columns_it_is_not_known_whose_scores_there_are(tmp_path):
    (tmp_path / "file.jsonl").write_bytes(json_lines(row(1, negative="another")))
    found = read_as(tmp_path / "file.jsonl", Reading())
    assert [pair[2:4] for pair in found.pairs] == [([*row(1)["neg"], "another"], s) for s in (2.5, 3.5)]
    assert all(np.isnan(pair[4]).all() for pair in found.pairs)
    assert (found.dropped, found.unused) == ({}, {"neg_scores": 1})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"score": "s"}, "score is named, but not query and document; name all of them"),
        (
            {"query": "q", "document": "d", "score": "s", "negative_scores": "n"},
            "negative_scores are named, but not negatives and score; name all of them",
        ),
    ],
)
def test_scores_are_named_with_what_they_are_of(settings, sentence):
    with pytest.raises(UsageError, match=sentence):
        Reading(**settings)


def test_a_preview_shows_the_scores(tmp_path):
    path = write_lines(tmp_path / "file.jsonl", ROWS[:2])
    source = SourceSpec("pairs", str(path), "others")
    table = preview_table(source, preview(source, 3))
    assert [column.header for column in table.columns] == ["query", "document", "negatives", "score"]
    assert [str(cell) for cell in table.columns[3].cells] == ["1.5", "2.5", "2.5"]
