"""What earlier calls of prepare did is not done again: finished sources, sorted files, parts."""

import gzip
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gte_ray.data import prepare_store as preparing
from gte_ray.data.ids import Ids
from gte_ray.data.prepare_store import prepare
from gte_ray.data.store import open_store
from gte_ray.data.units import SMALLEST_UNIT
from gte_ray.errors import RunError
from gte_ray.readers.reading import Reading
from gte_ray.readers.spec import SourceSpec
from gte_ray.runtime.pool import run_tasks
from tests.data.conftest import make_pairs, write_lines
from tests.data.preparing import files, pairs_of, phases, rows_of, small

pytestmark = pytest.mark.usefixtures("ray_local")


KILLED = """
import os, signal, sys
import ray
from gte_ray.data import prepare_store
from gte_ray.data.ids import Ids
from gte_ray.readers.spec import SourceSpec
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
         object_store_memory=128 * 2**20)
prepare_store.PART_ROWS = 5
def report(phase, pairs):
    if phase == "sorting second":
        os.kill(os.getpid(), signal.SIGKILL)
sources = [SourceSpec(*line.split("|")) for line in sys.argv[2:]]
prepare_store.prepare(sys.argv[1], sources, ids=Ids(vocabulary=300, max_length=24), report=report)
"""


@pytest.mark.processes
def test_a_killed_run_leaves_nothing_half_visible_and_the_next_goes_on(tmp_path, monkeypatch):
    """Killed in the second pass, which tokenises: only what was in flight is done again."""
    sources = [small("first", tmp_path), small("second", tmp_path)]
    store = tmp_path / "store"
    lines = [f"{s.name}|{s.glob}|{s.task}" for s in sources]
    killed = subprocess.run([sys.executable, "-c", KILLED, str(store), *lines], capture_output=True)
    assert killed.returncode == -9
    with pytest.raises(RunError, match="not finished"):
        open_store(str(store))
    done = {f"part-{path.stem}.parquet" for path in store.glob(".sorting-second/second-*/*.json")}
    assert 1 <= len(done) < 8
    written = {path: path.stat().st_mtime_ns for path in store.glob("second-*/part-*.parquet")}
    monkeypatch.setattr(preparing, "PART_ROWS", 5)
    calls: list[str] = []
    ids = Ids(vocabulary=300, max_length=24)
    prepare(str(store), sources, ids=ids, report=phases(calls))
    assert "reading first" not in calls and "reading second" not in calls
    assert calls.count("sorting second") == 8 - len(done)
    again = {path.name for path, time in written.items() if path.stat().st_mtime_ns != time}
    assert not again & done
    whole = prepare(str(tmp_path / "whole"), sources, ids=ids)
    assert files(store) == files(whole.uri)
    assert whole.source("second").tokenizer is not None
    assert not [path.name for path in store.iterdir() if path.name.startswith(".")]


def test_a_failure_in_the_first_pass_leaves_what_is_done(tmp_path):
    """Only the file that was at fault is read again, once it is whole."""
    good = [write_lines(tmp_path / f"{n}.jsonl", make_pairs(30, seed=n)) for n in range(3)]
    for path in good:
        path.write_bytes(path.read_bytes() + b" " * SMALLEST_UNIT)  # a unit by itself
    bad = tmp_path / "3.csv.gz"
    rows = "".join(f"q{i},d {i * 7919}\n" for i in range(200_000))
    content = gzip.compress(f"query,document\n{rows}".encode())
    bad.write_bytes(content[: len(content) // 2])
    source, uri = SourceSpec("s", f"{tmp_path}/*.*", "code"), str(tmp_path / "store")
    with pytest.raises(RunError, match=r"3\.csv\.gz: cannot be read to its end"):
        prepare(uri, [source])
    records = [json.loads(path.read_text()) for path in Path(uri).glob(".sorting-s/*.json")]
    done = sum(run["rows"] for record in records for run in record["runs"])
    assert 0 < done <= 90
    bad.write_bytes(content)
    read: list[int] = []
    prepare(uri, [source], report=lambda phase, pairs: read.append(pairs if phase == "reading s" else 0))
    assert sum(read) == 200_090 - done
    assert files(uri) == files(prepare(str(tmp_path / "whole"), [source]).uri)


def test_only_what_changed_is_done_again(tmp_path):
    sources = [small("first", tmp_path), small("second", tmp_path)]
    uri, calls = str(tmp_path / "store"), []
    prepare(uri, sources, report=phases(calls))
    calls.clear()
    prepare(uri, sources, report=phases(calls))
    assert calls == []
    write_lines(tmp_path / "second.jsonl", make_pairs(50, seed=9))
    store = prepare(uri, sources, report=phases(calls))
    assert set(calls) == {"reading second", "sorting second"}
    assert pairs_of(rows_of(store, "second")) <= set(make_pairs(50, seed=9))
    folders = {path.name.split("-")[0] for path in Path(uri).iterdir() if path.is_dir()}
    assert (folders, len(list(Path(uri).iterdir()))) == ({"first", "second"}, 3)


def test_what_changed_is_told_in_a_sentence(tmp_path):
    uri, told, path = str(tmp_path / "store"), [], tmp_path / "first.jsonl"

    def again(source, **settings):
        told.clear()
        prepare(uri, [source], tell=told.append, **settings)
        return told.copy()

    write_lines(path, [{"q": q, "d": d} for q, d in make_pairs(40)])
    first = SourceSpec("first", str(path), "others", Reading(query="q", document="d"))
    assert again(first) == [] == again(first)
    limited = replace(first, limit=20, reading=replace(first.reading, where="len(q) > 1"))
    assert again(limited) == ["first is prepared again: limit 'none' -> 20, where 'none' -> 'len(q) > 1'"]
    assert again(limited) == []
    assert again(limited, seed=3) == ["first is prepared again: seed 0 -> 3"]
    write_lines(path, [{"q": q, "d": d} for q, d in make_pairs(70)])
    assert again(limited) == ["first is prepared again: its files changed"]
    for part in Path(uri).glob("first-*/*.parquet"):
        part.unlink()
    (sentence,) = again(limited)
    assert sentence.endswith("by another version, or a part of it is missing")


@pytest.mark.parametrize("ids", [None, Ids(vocabulary=300, max_length=16)], ids=["texts", "ids"])
def test_files_that_changed_in_time_alone_leave_the_store_in_place(tmp_path, ids):
    source, uri, calls = small("first", tmp_path), str(tmp_path / "store"), []
    prepare(uri, [source], ids=ids)
    before = {path: path.stat().st_mtime_ns for path in Path(uri).rglob("*.parquet")}
    os.utime(source.glob, ns=(1, 1))
    prepare(uri, [source], ids=ids, report=phases(calls))
    assert set(calls) == {"reading first"}
    assert {path: path.stat().st_mtime_ns for path in Path(uri).rglob("*.parquet")} == before


@pytest.mark.parametrize("broken", [1, 2])
def test_the_old_store_stays_whole_while_a_new_one_is_made(tmp_path, monkeypatch, broken):
    source, uri = small("first", tmp_path), str(tmp_path / "store")
    fingerprint = prepare(uri, [source]).fingerprint
    calls = []

    def failing(units, function):
        calls.append(function)
        if len(calls) == broken:
            raise RuntimeError("the power went")
        return run_tasks(units, function)

    write_lines(tmp_path / "first.jsonl", make_pairs(60, seed=9))
    monkeypatch.setattr("gte_ray.data.two_passes.run_tasks", failing)
    with pytest.raises(RuntimeError, match="the power went"):
        prepare(uri, [source])
    assert open_store(uri).fingerprint == fingerprint


def test_a_finished_source_whose_part_is_gone_is_done_again(tmp_path):
    source, uri = small("first", tmp_path), str(tmp_path / "store")
    expected = files(prepare(uri, [source]).uri)
    (part,) = Path(uri).rglob("part-*.parquet")
    part.unlink()
    assert files(prepare(uri, [source]).uri) == expected


def test_other_negatives_of_the_same_pairs_are_another_source(tmp_path):
    def rows(word: str) -> list[dict[str, str]]:
        return [{"query": q, "document": d, "n": f"{word} {i}"} for i, (q, d) in enumerate(make_pairs(40))]

    def stored(reading: Reading) -> list[str]:
        store = prepare(str(tmp_path / "store"), [SourceSpec("s", str(path), "code", reading)])
        lists = store.read_rows("s", 0, store.source("s").rows, ["negatives"])["negatives"].to_pylist()
        return [text for texts in lists for text in texts]

    path = write_lines(tmp_path / "s.jsonl", rows("old"))
    with_negatives = Reading("query", "document", "n")
    assert stored(Reading("query", "document")) == []
    assert {text.split()[0] for text in stored(with_negatives)} == {"old"}
    write_lines(tmp_path / "s.jsonl", rows("new"))
    assert {text.split()[0] for text in stored(with_negatives)} == {"new"}
    assert stored(Reading("query", "document")) == []
