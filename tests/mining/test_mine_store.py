"""Mining a store, end to end: what is found, what never is, and that a cut-off command goes on."""

from dataclasses import replace

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from gte_ray.data import rewrite
from gte_ray.data.prepare_store import prepare
from gte_ray.data.store import Store, open_store
from gte_ray.errors import RunError, UsageError
from gte_ray.mining import pairs as numbering
from gte_ray.mining import run_search, search, task
from gte_ray.mining.choose import Window
from gte_ray.mining.mine_store import mine
from gte_ray.model.load import load_model
from gte_ray.pretrained.prompts import GivenPrompts
from gte_ray.readers.spec import SourceSpec
from gte_ray.runtime import pool
from tests.data.conftest import make_pairs, write_lines
from tests.in_process import run_here
from tests.mining.conftest import file_bytes, rows_of
from tests.model.folders import copy, edit

WINDOW = Window(first_rank=2, last_rank=8, negatives=3, seed=1)


@pytest.fixture
def in_process(monkeypatch):
    run_here(monkeypatch, numbering, run_search, rewrite)


def mined(store, out, model, window=WINDOW, workers=1, **settings):
    return mine(store, str(out), model, window, pool.Pool(workers), **settings)


def candidates(store, source, vectors_of):
    """For each query, brute force: its candidate documents from the best on."""
    rows = rows_of(store, source)
    positives = {}
    for row in rows:
        positives.setdefault(row["query"], set()).add(row["document"])
    documents = list(dict.fromkeys(row["document"] for row in rows))
    vectors = vectors_of(documents)
    found = {}
    for query in positives:
        scores = vectors @ vectors_of([query])[0]
        order = [documents[i] for i in np.argsort(-scores, kind="stable")]
        found[query] = [text for text in order if text not in positives[query] and text != query]
    return found


def test_negatives_are_those_that_brute_force_finds(store, model, in_process, tmp_path):
    result = mined(store, tmp_path / "out", model)
    loaded = load_model(model)
    tokenizer = store.load_tokenizer()
    for source in ("one", "two"):
        expected = candidates(store, source, lambda texts: loaded.embed(texts, 4_096))
        before = {(row["query"], row["document"]): row["negatives"] for row in rows_of(store, source)}
        for row in rows_of(result, source):
            given = before[row["query"], row["document"]]
            window = expected[row["query"]][WINDOW.first_rank - 1 : WINDOW.last_rank]
            own = set(row["negatives"]) - set(given)
            assert own <= set(window)
            assert len(own) == 3 and set(given) <= set(row["negatives"])
            assert row["negative_hashes"] == sorted(row["negative_hashes"])
            ids = [tokenizer.content_ids([text], 24).values.tolist() for text in row["negatives"]]
            assert row["negative_ids"] == ids
        assert result.source(source).negatives == sum(
            len(row["negatives"]) for row in rows_of(result, source)
        )
        assert result.source(source).held_out == store.source(source).held_out
    assert result.fingerprint != store.fingerprint
    assert open_store(result.uri).load_tokenizer().fingerprint == tokenizer.fingerprint


def test_queries_and_documents_are_found_with_their_prompts(store, model, in_process, tmp_path):
    """Against sentence-transformers: which documents are in the window of each query."""
    prompts = {"query": "river ", "document": "stone cloud "}
    own = edit(copy(model, tmp_path / "model"), "config_sentence_transformers.json", prompts=prompts)
    window = Window(first_rank=1, last_rank=2, negatives=2)
    theirs = SentenceTransformer(own, device="cpu")
    result, bare = (
        mined(store, tmp_path / name, name_of, window) for name, name_of in (("a", own), ("b", model))
    )
    rows = rows_of(result, "two")
    documents = list(dict.fromkeys(row["document"] for row in rows))
    vectors = theirs.encode_document(documents)
    for row in rows:
        scores = dict(zip(documents, vectors @ theirs.encode_query([row["query"]])[0], strict=True))
        positive = {other["document"] for other in rows if other["query"] == row["query"]}
        best = sorted((text for text in documents if text not in positive), key=lambda text: -scores[text])
        assert set(row["negatives"]) == set(best[:2])
    assert rows_of(bare, "two") != rows  # prompts count
    given = mined(store, tmp_path / "c", model, window, prompts=GivenPrompts(*prompts.values()))
    assert rows_of(given, "two") == rows
    again = mined(store, tmp_path / "c", model, window)  # without them, nothing of that is taken over
    assert rows_of(again, "two") == rows_of(bare, "two")


def test_bytes_do_not_depend_on_workers(store, model, in_process, tmp_path, monkeypatch):
    one = mined(store, tmp_path / "one", model)
    with monkeypatch.context() as patch:
        patch.setattr(run_search, "run_actors", pool.run_actors)
        for tasks in (numbering, rewrite):
            patch.setattr(tasks, "run_grouped", pool.run_grouped)
        two = mined(store, tmp_path / "two", model, workers=2)
    assert file_bytes(one) == file_bytes(two)
    assert one.fingerprint == two.fingerprint
    other = mined(store, tmp_path / "other", model, replace(WINDOW, seed=2))
    assert other.fingerprint != one.fingerprint


def test_bm25_finds_a_planted_negative(in_process, ray_local, tmp_path):
    pairs = [list(pair) for pair in make_pairs(60)]
    pairs += [["where does the zebra sleep", "a zebra rests in open grassland"],
              ["an unlike question", "where the zebra does sleep is told by nobody"]]  # fmt: skip
    path = write_lines(tmp_path / "pairs.jsonl", pairs)
    store = prepare(str(tmp_path / "store"), [SourceSpec("s", str(path), "others")], held_out_share=0)
    result = mined(store, tmp_path / "out", "bm25", Window(first_rank=1, last_rank=5, negatives=5))
    columns = ["query", "document", "negatives"]
    rows = {row["query"]: row for row in result.read_rows("s", 0, 62, columns).to_pylist()}
    assert rows["where does the zebra sleep"]["negatives"] == ["where the zebra does sleep is told by nobody"]
    assert all(row["document"] not in row["negatives"] for row in rows.values())


def test_a_cut_off_command_goes_on_where_it_was(store, model, in_process, tmp_path, monkeypatch):
    whole = mined(store, tmp_path / "whole", model)
    out, phases, units = tmp_path / "out", [], []
    actors, write = run_search.run_actors, rewrite.write_part

    def run_actors(todo, *arguments):
        units.append(len(todo))
        return actors(todo, *arguments)

    def cut_off(job, **told):
        if job.source == "two":
            raise RunError("cut off")
        return write(job, **told)

    monkeypatch.setattr(run_search, "run_actors", run_actors)
    with monkeypatch.context() as patch, pytest.raises(RunError, match="cut off"):
        patch.setattr(rewrite, "write_part", cut_off)
        mined(store, out, model)
    assert units == [4, 2]  # queries and documents of two sources, then their queries
    assert not (out / "manifest.json").exists()
    units.clear()
    result = mined(store, out, model, report=lambda phase, done: phases.append(phase))
    assert units == [0, 0]
    assert set(phases) == {"numbering two", "writing two"}
    assert file_bytes(result) == file_bytes(whole)
    phases.clear()
    assert (
        mined(store, out, model, report=lambda phase, done: phases.append(phase)).fingerprint
        == whole.fingerprint
    )
    assert phases == []
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("kind", ["bm25", "model"])
def test_small_blocks_find_what_one_block_finds(kind, store, model, in_process, tmp_path, monkeypatch):
    finder = model if kind == "model" else kind
    whole = mined(store, tmp_path / "whole", finder)
    for constants in (search, task, run_search):
        monkeypatch.setattr(constants, "BLOCK_TEXTS", 16)
    monkeypatch.setattr(search, "BM25_QUERIES", 5)
    small = mined(store, tmp_path / "small", finder)
    for name in ("one", "two"):
        assert rows_of(small, name) == rows_of(whole, name)


def test_sources_that_were_mined_before_stay(store, in_process, tmp_path):
    first = mined(store, tmp_path / "out", "bm25", sources=["two"]).manifest.sources
    both = mined(store, tmp_path / "out", "bm25", sources=["one"]).manifest
    assert both.sources[0] == first[0]
    assert [source.name for source in both.sources] == ["two", "one"]
    whole = mined(store, tmp_path / "whole", "bm25")
    assert open_store(str(tmp_path / "out")).fingerprint == whole.fingerprint
    assert both.tokenizer == whole.manifest.tokenizer is not None


def test_wrong_use_is_told_in_one_sentence(store, model, in_process, tmp_path):
    with pytest.raises(UsageError, match="allowed is another place"):
        mined(store, store.uri, model)
    with pytest.raises(RunError, match="there is no source 'three'; there are one, two"):
        mined(store, tmp_path / "out", model, sources=["three"])


def test_scattered_rows_are_read_without_the_row_groups_between_them(ray_local, tiny_store, monkeypatch):
    store, read = open_store(tiny_store), []
    whole = store.read_rows("large", 0, 2_300, ["query"]).column(0).to_pylist()
    rows = np.array([3, 5, 1_030, 2_290])
    assert search.read_texts(store, "large", rows, "query") == [whole[row] for row in rows]
    assert search.read_texts(store, "large", rows[:0], "query") == []
    read_rows = Store.read_rows

    def noted(self, source, start, stop, columns):
        read.append((start, stop))
        return read_rows(self, source, start, stop, columns)

    monkeypatch.setattr(Store, "read_rows", noted)
    search.read_texts(store, "large", np.array([3, 5, 2_290]), "query")
    assert read == [(3, 6), (2_290, 2_291)]
