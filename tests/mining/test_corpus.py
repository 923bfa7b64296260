"""Mining in passages besides a source's own documents: what is found, what never is, and that a second call does nothing."""

import gzip
import json

import numpy as np
import pytest

from gte_ray.data import rewrite
from gte_ray.errors import RunError, UsageError
from gte_ray.mining import corpus as corpora
from gte_ray.mining import pairs as numbering
from gte_ray.mining import run_search, search, task
from gte_ray.mining.choose import Window
from gte_ray.mining.corpus import list_corpus
from gte_ray.mining.mine_store import mine
from gte_ray.retrieval.bm25 import Bm25
from gte_ray.runtime.pool import Pool
from tests.data.conftest import make_pairs
from tests.in_process import run_here
from tests.mining.conftest import file_bytes, rows_of
from tests.model.folders import copy, edit

WINDOW = Window(first_rank=2, last_rank=9, negatives=4, seed=1)
FINDERS = ("bm25", "model")


@pytest.fixture(autouse=True)
def here(monkeypatch):
    run_here(monkeypatch, numbering, run_search, rewrite, corpora)


@pytest.fixture
def passages(store, tmp_path):
    """Files of passages: new ones, documents of the store, one of its queries, repeated ones, rows without a text."""
    rows = rows_of(store, "one")
    texts = [document for _, document in make_pairs(120, seed=7)]
    texts += [row["document"] for row in rows[:40]] + [rows[0]["query"]] + texts[:15]
    lines = [json.dumps({"id": number, "text": text}) for number, text in enumerate(texts)]
    lines += ['{"id": -1, "text": ""}', '{"id": -2, "text": " "}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines[:70]) + "\n")
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write("\n".join(lines[70:]) + "\n")
    return list_corpus(f"{tmp_path}/*.jsonl*", "text", ()), list(dict.fromkeys(texts))


def mined(store, out, finder, corpus, window=WINDOW, **settings):
    return mine(store, str(out), finder, window, Pool(), corpus=corpus, **settings)


def candidates(rows, texts, scores_of):
    """For each query, brute force: passages and the source's documents from the best on, without those it may not get."""
    positives: dict[str, set] = {}
    for row in rows:
        positives.setdefault(row["query"], set()).add(row["document"])
    documents = list(dict.fromkeys([*texts, *(row["document"] for row in rows)]))
    found = {}
    for query in positives:
        scores = scores_of(query, documents)
        order = [documents[i] for i in np.argsort(-scores, kind="stable") if scores[i] > 0]
        found[query] = [text for text in order if text not in positives[query] and text != query]
    return found


@pytest.mark.parametrize("small", [False, True], ids=["one block", "many blocks"])
@pytest.mark.parametrize("finder", FINDERS)
def test_negatives_are_those_that_brute_force_finds(
    store, model, passages, tmp_path, monkeypatch, finder, small
):
    corpus, texts = passages
    if small:
        monkeypatch.setattr("gte_ray.data.units.SMALLEST_UNIT", 1)
        monkeypatch.setattr(run_search, "BLOCKS_AT_ONCE", 3)
        for constants in (search, task, run_search):
            monkeypatch.setattr(constants, "BLOCK_TEXTS", 16)
    if finder == "model":
        from gte_ray.model.load import load_model

        loaded = load_model(model)
        vectors = {}

        def scores_of(query, documents):
            key = len(documents)
            if key not in vectors:
                vectors[key] = loaded.embed(documents, 4_096)
            return vectors[key] @ loaded.embed([query], 4_096)[0] + 2  # all are above 0
    else:
        indexes = {}

        def scores_of(query, documents):
            key = len(documents)
            if key not in indexes:
                indexes[key] = Bm25(documents)
            return indexes[key].scores([query])[0]

    result = mined(store, tmp_path / "out", model if finder == "model" else finder, corpus)
    tokenizer, new = store.load_tokenizer(), 0
    for source in ("one", "two"):
        before = {(row["query"], row["document"]): row["negatives"] for row in rows_of(store, source)}
        expected = candidates(rows_of(store, source), texts, scores_of)
        for row in rows_of(result, source):
            given = before[row["query"], row["document"]]
            window = expected[row["query"]][WINDOW.first_rank - 1 : WINDOW.last_rank]
            own = set(row["negatives"]) - set(given)
            assert own <= set(window)
            assert len(own) == min(4, len(window)) and set(given) <= set(row["negatives"])
            ids = [tokenizer.content_ids([text], 24).values.tolist() for text in row["negatives"]]
            assert row["negative_ids"] == ids
            new += len(own & set(texts[:120]))
    assert new > 100


def test_what_is_no_passage_is_told_and_a_second_call_does_nothing(store, passages, tmp_path, monkeypatch):
    corpus, texts = passages
    phases: list[str] = []
    report = lambda phase, done: phases.append(phase)  # noqa: E731
    whole = mined(store, tmp_path / "whole", "bm25", corpus)

    def cut_off(*_, **__):
        raise RunError("cut off")

    with monkeypatch.context() as patch, pytest.raises(RunError, match="cut off"):
        patch.setattr(rewrite, "write_part", cut_off)
        mined(store, tmp_path / "out", "bm25", corpus, report=report)
    assert "reading the corpus" in phases
    assert f"corpus of {len(texts)} passages, left out: 2 empty, 15 repeated" in phases
    phases.clear()
    result = mined(store, tmp_path / "out", "bm25", corpus, report=report)
    assert "reading the corpus" not in phases and "searching one" not in phases
    assert file_bytes(result) == file_bytes(whole)
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
    phases.clear()
    mined(store, tmp_path / "out", "bm25", corpus, report=report)
    assert phases == []
    assert mined(store, tmp_path / "out", "bm25", None).fingerprint != whole.fingerprint


def test_vectors_of_passages_are_those_of_the_model_that_mines(store, model, passages, tmp_path, monkeypatch):
    """Also where another model was cut off before in the same place."""
    corpus, _ = passages
    other = edit(
        copy(model, tmp_path / "other"), "config_sentence_transformers.json", prompts={"document": "river "}
    )
    whole = mined(store, tmp_path / "whole", model, corpus)

    def cut_off(*_, **__):
        raise RunError("cut off")

    with monkeypatch.context() as patch, pytest.raises(RunError, match="cut off"):
        patch.setattr(rewrite, "write_part", cut_off)
        mined(store, tmp_path / "out", other, corpus)
    assert file_bytes(mined(store, tmp_path / "out", model, corpus)) == file_bytes(whole)


def test_a_template_and_files_without_a_line_of_names(tmp_path):
    (tmp_path / "collection.tsv").write_text("0\tfirst passage\n1\tsecond passage\n2\tfirst passage\n")
    given = list_corpus(f"{tmp_path}/collection.tsv", "passage", ("id", "passage"))
    corpus = corpora.gather_corpus(str(tmp_path / "out"), given, ".mining-", "m", lambda *_: None)
    assert corpus.read(np.arange(corpus.rows), "document").to_pylist() == ["first passage", "second passage"]
    assert corpus.dropped == {"repeated": 1}
    (tmp_path / "titled.jsonl").write_text('{"title": "A", "text": "b"}\n{"title": "", "text": "c"}\n')
    given = list_corpus(f"{tmp_path}/titled.jsonl", "{title}. {text}", ())
    corpus = corpora.gather_corpus(str(tmp_path / "out"), given, ".mining-", "m", lambda *_: None)
    assert corpus.read(np.arange(corpus.rows), "document").to_pylist() == ["A. b", "c"]


def test_a_corpus_that_cannot_be_used_is_told(tmp_path):
    with pytest.raises(RunError, match="--corpus: no file matches"):
        list_corpus(f"{tmp_path}/*.jsonl", "text", ())
    (tmp_path / "a.jsonl").write_text('{"text": ""}\n')
    with pytest.raises(UsageError, match=r"--corpus-text or --corpus-columns: '\{a' has a single"):
        list_corpus(f"{tmp_path}/a.jsonl", "{a", ())
    out, given = str(tmp_path / "out"), list_corpus(f"{tmp_path}/a.jsonl", "text", ())
    with pytest.raises(
        RunError, match=r"--corpus .*a.jsonl: no row has a text 'text' \(1 empty\); --corpus-text"
    ):
        corpora.gather_corpus(out, given, ".mining-", "m", lambda *_: None)
    given = list_corpus(f"{tmp_path}/a.jsonl", "body", ())
    with pytest.raises(RunError, match=r"a.jsonl: there is no column 'body'; there are 'text'"):
        corpora.gather_corpus(out, given, ".mining-", "m", lambda *_: None)
