"""The same pairs give the same bytes, a crash loses nothing that is finished, and bad input is counted."""

import errno
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray.data

from gte_ray.data import add_ids as adding
from gte_ray.data import prepare_store as preparing
from gte_ray.data.ids import Ids
from gte_ray.data.prepare_store import prepare
from gte_ray.data.store import open_store
from gte_ray.errors import RunError, UsageError
from gte_ray.readers.spec import SourceSpec
from gte_ray.runtime.pool import run_tasks
from tests.data.conftest import PAIRS, write_lines
from tests.data.preparing import files, pairs_of, phases, rows_of, small
from tests.in_process import run_here

pytestmark = pytest.mark.usefixtures("ray_local")


def test_order_files_formats_and_workers_do_not_change_a_byte(source, tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "PART_ROWS", 700)
    expected = files(prepare(str(tmp_path / "one"), [source]).uri)
    shuffled = random.Random(3).sample(PAIRS, len(PAIRS))
    write_lines(tmp_path / "split" / "1.jsonl", shuffled[:100])
    write_lines(tmp_path / "split" / "2.jsonl", [{"query": q, "pos": [d]} for q, d in shuffled[100:900]])
    queries, documents = zip(*shuffled[900:], strict=True)
    pq.write_table(pa.table({"query": queries, "document": documents}), tmp_path / "split" / "3.parquet")
    other = SourceSpec("pairs", f"{tmp_path}/split/*", "code")
    limits = ray.data.DataContext.get_current().execution_options
    monkeypatch.setattr(limits, "resource_limits", ray.data.ExecutionResources(cpu=1))
    assert files(prepare(str(tmp_path / "other"), [other]).uri) == expected
    assert len(expected) == 8  # four parts for 1,800 rows, and as many of held-out pairs


def test_each_pair_once_and_each_query_on_one_side(source, tmp_path):
    store = prepare(str(tmp_path / "store"), [source], held_out_share=0.2)
    info = store.source("pairs")
    train, held_out = pairs_of(rows_of(store, "pairs")), pairs_of(store.read_held_out("pairs", 10**6))
    assert train | held_out == set(PAIRS)
    assert info.rows + info.held_out == len(train) + len(held_out) == len(set(PAIRS))
    assert (info.read, info.dropped) == (len(PAIRS), {"duplicate": 100})
    assert not {query for query, _ in train} & {query for query, _ in held_out}
    assert 0.15 < len(held_out) / len(set(PAIRS)) < 0.25


def test_a_held_out_query_stays_so_when_pairs_are_added(source, tmp_path):
    few = SourceSpec("pairs", str(write_lines(tmp_path / "few.jsonl", PAIRS[:500])), "code")
    before = prepare(str(tmp_path / "few"), [few], held_out_share=0.1)
    after = prepare(str(tmp_path / "all"), [source], held_out_share=0.1)
    assert pairs_of(before.read_held_out("pairs", 999)) <= pairs_of(after.read_held_out("pairs", 999))


def test_one_query_with_many_documents_is_not_split(tmp_path):
    rows = [(f"query {i % 10}", f"document {i}") for i in range(300)]
    source = SourceSpec("few", str(write_lines(tmp_path / "few.jsonl", rows)), "code")
    store = prepare(str(tmp_path / "store"), [source], held_out_share=0.5)
    sides = [{q for q, _ in pairs_of(t)} for t in (rows_of(store, "few"), store.read_held_out("few", 999))]
    assert all(sides)
    assert not sides[0] & sides[1]


def test_fingerprint_is_of_the_pairs_and_their_split(source, tmp_path):
    store = prepare(str(tmp_path / "a"), [source])
    again = prepare(str(tmp_path / "b"), [source], ids=Ids(vocabulary=300, max_length=16))
    assert store.fingerprint == again.fingerprint
    others = [
        prepare(str(tmp_path / "c"), [source], held_out_share=0.3),
        prepare(str(tmp_path / "d"), [source], seed=1),
        prepare(str(tmp_path / "e"), [SourceSpec("pairs", source.glob, "news")]),
    ]
    assert len({store.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_ids_are_added_to_a_store_and_changed(tmp_path):
    source, uri, calls = small("first", tmp_path), str(tmp_path / "store"), []
    assert prepare(uri, [source]).manifest.tokenizer is None
    store = prepare(uri, [source], ids=Ids(vocabulary=300, max_length=16), report=phases(calls))
    assert set(calls) == {"training the vocabulary", "tokenising first"}
    assert store.manifest.tokenizer.max_length == 16
    folder = tmp_path / "tokenizer"
    store.load_tokenizer().save(str(folder))
    store = prepare(uri, [source], ids=Ids(str(folder), max_length=8))
    assert store.manifest.tokenizer.max_length == 8
    ids = store.read_rows("first", 0, 9, ["document_ids"])["document_ids"].to_pylist()
    assert max(map(len, ids)) == 6
    assert len([path for path in Path(uri).iterdir() if path.is_dir()]) == 2


def test_parts_that_have_their_ids_are_not_tokenised_again(tmp_path, monkeypatch):
    """Cut off after a few parts: the same command does the others, to the same bytes."""
    run_here(monkeypatch, adding)
    monkeypatch.setattr(preparing, "PART_ROWS", 10)
    sources, ids = [small("first", tmp_path), small("other", tmp_path)], Ids(vocabulary=300, max_length=16)
    uris = [str(tmp_path / name) for name in ("cut", "whole")]
    for uri in uris:
        prepare(uri, sources)
    prepare(uris[1], sources, ids=ids)
    tokenize, begun = adding.tokenize_part, []

    def cut_off(job, **told):
        begun.append(job.path)
        if len(begun) == 7:
            raise RunError("cut off")
        return tokenize(job, **told)

    with monkeypatch.context() as patch, pytest.raises(RunError, match="cut off"):
        patch.setattr(adding, "tokenize_part", cut_off)
        prepare(uris[0], sources, ids=ids)
    assert open_store(uris[0]).manifest.tokenizer is None  # the store as it was
    again: list[int] = []
    store = prepare(
        uris[0], sources, ids=ids, report=lambda phase, rows: again.append(phase.startswith("tokenising"))
    )
    parts = sum(len(info.parts) + len(info.held_out_parts) for info in store.manifest.sources)
    assert sum(again) == parts - 6 > 0
    assert files(uris[0]) == files(uris[1])
    assert {path.name.split("-")[0] for path in Path(uris[0]).iterdir() if path.is_dir()} == {
        "first", "other", "tokenizer",
    }  # fmt: skip


def test_sources_of_one_pair(tmp_path):
    both = [["q", "d"], ["", "d"], ["r", None]]
    single = SourceSpec("single", str(write_lines(tmp_path / "1.jsonl", both)), "code", allow_drops=True)
    ids = Ids(vocabulary=100, max_length=8)
    store = prepare(str(tmp_path / "store"), [single], held_out_share=0.0, ids=ids)
    info = store.source("single")
    assert (info.rows, info.held_out, info.read, info.dropped) == (1, 0, 3, {"empty": 1, "null": 1})
    assert len(store.read_held_out("single", 5)) == 0
    assert pairs_of(rows_of(store, "single")) == {("q", "d")}
    store = prepare(str(tmp_path / "other"), [single], held_out_share=0.999999, ids=ids)
    assert (store.source("single").rows, store.source("single").held_out) == (0, 1)
    assert len(store.read_rows("single", 0, 0, ["query"])) == 0


def test_documents_of_10_mb(tmp_path):
    pairs = [(f"query {i}", f"{i}" * 10_000_000) for i in range(3)]
    source = SourceSpec("large", str(write_lines(tmp_path / "large.jsonl", pairs)), "code")
    store = prepare(str(tmp_path / "store"), [source], ids=Ids(vocabulary=100, max_length=8))
    assert pairs_of(rows_of(store, "large")) == set(pairs)


def test_bad_files_are_found_before_any_work(tmp_path):
    good = small("good", tmp_path)
    pq.write_table(pa.table({"query": ["q"], "document": ["d"]}), tmp_path / "cut.parquet")
    whole = (tmp_path / "cut.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:-9])
    calls: list[str] = []
    with pytest.raises(RunError, match=r"cut\.parquet: not a whole Parquet file"):
        prepare(
            str(tmp_path / "store"),
            [good, SourceSpec("cut", f"{tmp_path}/cut.parquet", "code")],
            report=phases(calls),
        )
    assert calls == []


def test_a_file_that_breaks_off_is_named(tmp_path):
    pq.write_table(pa.table({"query": ["q"] * 99, "document": ["d"] * 99}), tmp_path / "bad.parquet")
    content = (tmp_path / "bad.parquet").read_bytes()
    (tmp_path / "bad.parquet").write_bytes(content[:8] + b"\xff" * 40 + content[48:])
    with pytest.raises(RunError, match=r"bad\.parquet: cannot be read to its end"):
        prepare(str(tmp_path / "store"), [SourceSpec("bad", f"{tmp_path}/bad.parquet", "code")])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"held_out_share": 1.0}, "--held-out is 1.0; allowed is a share from 0"),
        ({"held_out_share": -0.1}, "--held-out is -0.1"),
        ({"seed": -1}, "--seed is -1; allowed is a whole number"),
    ],
)
def test_settings_out_of_range(source, tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        prepare(str(tmp_path / "store"), [source], **changes)


def test_sources_given_twice_or_not_at_all(source, tmp_path):
    with pytest.raises(UsageError, match="name given twice: pairs"):
        prepare(str(tmp_path / "store"), [source, source])
    with pytest.raises(UsageError, match="at least one is needed"):
        prepare(str(tmp_path / "store"), [])
    with pytest.raises(UsageError, match="task is 'poems'; allowed are web-page, academic-paper"):
        SourceSpec("pairs", source.glob, "poems")


def test_a_full_disk_is_one_sentence(source, tmp_path, monkeypatch):
    def fill_the_disk(unit):
        raise OSError(errno.ENOSPC, "No space left on device")
        yield

    with pytest.raises(RunError, match="no space is left on the device"):
        list(run_tasks([1], fill_the_disk))

    def full(uri, value):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gte_ray.runtime.storage.write_json", full)
    store = str(tmp_path / "store")
    with pytest.raises(RunError, match=f"{store}: no space is left on the device; finished sources are kept"):
        prepare(store, [source])
    with pytest.raises(RunError, match="not finished"):
        open_store(store)
