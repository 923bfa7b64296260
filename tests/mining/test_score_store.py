"""Scores of a teacher in a store: what they are, what stays without them, and that a cut-off command goes on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from transformers import BertForSequenceClassification

from gte_ray.cli.store_tables import store_notes
from gte_ray.data import add_ids as adding
from gte_ray.data import rewrite
from gte_ray.data.finished import write_manifest
from gte_ray.data.ids import Ids, tokenization
from gte_ray.data.mixture import PlanSource
from gte_ray.data.read import StreamConfig, read_batch
from gte_ray.data.store import open_store
from gte_ray.errors import RunError, UsageError
from gte_ray.mining import pairs as numbering
from gte_ray.mining import run_search, teacher
from gte_ray.mining.choose import Window
from gte_ray.mining.mine_store import mine
from gte_ray.mining.score_store import TOO_NEAR, Margins, score
from gte_ray.model.cross_encoder import load_scorer
from gte_ray.model.load import load_model
from gte_ray.pretrained.prompts import GivenPrompts
from gte_ray.retrieval.bm25 import BM25
from gte_ray.runtime import pool
from tests.in_process import run_here
from tests.mining.conftest import file_bytes
from tests.model.folders import bare_folder, copy, edit

ALL = Margins()


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    run_here(monkeypatch, numbering, run_search, rewrite, teacher)


@pytest.fixture(scope="module")
def mined(store, tmp_path_factory):
    """The store with five negatives for most pairs."""
    with pytest.MonkeyPatch.context() as patch:
        run_here(patch, numbering, run_search, rewrite)
        window = Window(first_rank=1, last_rank=9, negatives=5)
        return mine(store, str(tmp_path_factory.mktemp("mined") / "out"), BM25, window, pool.Pool())


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory) -> str:
    """One of random weights, whose logits are far enough apart to tell pairs from each other."""
    folder = bare_folder(tmp_path_factory.mktemp("teacher") / "teacher", num_labels=1)
    model = BertForSequenceClassification.from_pretrained(folder, num_labels=1)
    torch.manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(folder)
    return folder


def scored(store, out, model, margins=ALL, **settings):
    return score(store, str(out), model, margins, pool.Pool(), **settings)


def rows_of(store, source):
    columns = [
        "query",
        "document",
        "negatives",
        "score",
        "negative_scores",
        "negative_ids",
        "negative_hashes",
    ]
    return store.read_rows(source, 0, store.source(source).rows, columns).to_pylist()


def test_scores_are_the_logits_that_sentence_transformers_gives(mined, cross_encoder, tmp_path):
    result = scored(mined, tmp_path / "out", cross_encoder)
    theirs = CrossEncoder(cross_encoder, device="cpu", activation_fn=torch.nn.Identity())
    for source in ("one", "two"):
        rows = rows_of(result, source)
        texts = [(row["query"], text) for row in rows for text in (row["document"], *row["negatives"])]
        found = [value for row in rows for value in (row["score"], *row["negative_scores"])]
        np.testing.assert_allclose(found, theirs.predict(texts), atol=1e-5)
        assert np.std(found) > 0.01
        assert result.source(source).teacher == "teacher"
        assert result.source(source).negatives == mined.source(source).negatives
    assert result.fingerprint != mined.fingerprint
    assert all("scores by teacher" in note for note in store_notes(result))


def test_an_embedding_model_scores_by_cosine_with_its_prompts(mined, model, tmp_path):
    prompts = GivenPrompts(query="river ", document="stone ")
    result = scored(mined, tmp_path / "out", model, prompts=prompts)
    loaded = load_model(model, prompts=prompts)
    for row in rows_of(result, "two"):
        cosines = (
            loaded.documents([row["document"], *row["negatives"]], 4096)
            @ loaded.queries([row["query"]], 4096)[0]
        )
        np.testing.assert_allclose([row["score"], *row["negative_scores"]], cosines, atol=1e-5)


def test_negatives_above_the_margin_are_left_out_and_counted(mined, cross_encoder, tmp_path):
    whole = scored(mined, tmp_path / "whole", cross_encoder)
    less = scored(mined, tmp_path / "less", cross_encoder, Margins(margin=0.05))
    lost = 0
    for before, after in zip(rows_of(whole, "one"), rows_of(less, "one"), strict=True):
        kept = [
            i
            for i, value in enumerate(before["negative_scores"])
            if value <= np.float32(before["score"]) - 0.05
        ]
        lost += len(before["negatives"]) - len(kept)
        for name in ("negatives", "negative_hashes", "negative_ids", "negative_scores"):
            assert after[name] == [before[name][i] for i in kept]
        assert after["score"] == before["score"]
    assert 0 < lost < mined.source("one").negatives
    assert less.source("one").lost_negatives == {TOO_NEAR: lost}
    assert less.source("one").negatives == mined.source("one").negatives - lost


def test_a_cut_off_command_scores_no_pair_twice(mined, cross_encoder, tmp_path, monkeypatch):
    whole = scored(mined, tmp_path / "whole", cross_encoder)
    monkeypatch.setattr(teacher, "UNIT_ROWS", 32)
    asked, left = [], [3]

    class Failing(teacher.GiveScores):
        def __call__(self, rows):
            if not left[0]:
                raise RunError("the power is gone")
            left[0] -= 1
            asked.append(rows)
            yield from super().__call__(rows)

    monkeypatch.setattr(teacher, "GiveScores", Failing)
    with pytest.raises(RunError, match="the power is gone"):
        scored(mined, tmp_path / "out", cross_encoder)
    left[0] = 100
    again = scored(mined, tmp_path / "out", cross_encoder)
    assert len(asked) == len(set(asked)) == sum(-(-s.rows // 32) for s in mined.manifest.sources)
    for source in ("one", "two"):
        for a, b in zip(rows_of(again, source), rows_of(whole, source), strict=True):
            np.testing.assert_allclose(
                [a["score"], *a["negative_scores"]], [b["score"], *b["negative_scores"]], atol=1e-6
            )
    asked.clear()
    scored(mined, tmp_path / "out", cross_encoder)
    assert not asked
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".scoring")]


def test_scores_stay_with_their_texts_when_these_get_other_token_ids(
    mined, cross_encoder, tmp_path, monkeypatch
):
    run_here(monkeypatch, adding)
    result = scored(mined, tmp_path / "out", cross_encoder)
    before = rows_of(result, "one")
    texts = ["words of another vocabulary"]
    wanted = tokenization(result.uri, Ids(vocabulary=120, max_length=9), lambda: texts, lambda *_: None)
    write_manifest(result.uri, adding.add_ids(result, wanted, lambda *_: None))
    after = rows_of(open_store(result.uri), "one")
    for name in ("score", "negative_scores", "negatives"):
        assert [row[name] for row in after] == [row[name] for row in before]
    assert [row["negative_ids"] for row in after] != [row["negative_ids"] for row in before]


def test_another_teacher_takes_the_place_of_the_first(mined, cross_encoder, model, tmp_path):
    first = scored(mined, tmp_path / "first", cross_encoder)
    second = scored(first, tmp_path / "second", model)
    alone = scored(mined, tmp_path / "alone", model)
    assert alone.fingerprint != first.fingerprint
    assert sorted(file_bytes(second).values()) == sorted(file_bytes(alone).values())
    with pytest.raises(
        RunError, match="have scores of a teacher, which more negatives would lack; allowed is to mine first"
    ):
        mine(first, str(tmp_path / "mined"), BM25, Window(), pool.Pool())


def test_a_batch_has_the_scores_of_its_texts_and_none_for_random_ones(mined, cross_encoder, tmp_path):
    result = scored(mined, tmp_path / "out", cross_encoder, sources=["two"])
    both = scored(mined, tmp_path / "out", cross_encoder, sources=["one"])
    assert {source.name for source in both.manifest.sources} == {"one", "two"}
    info = result.source("two")
    stream = StreamConfig(result.uri, (PlanSource("two", info.rows),), 1.0, 16, 3, 2, 24,
                          result.load_tokenizer(), stored_ids=True, group_size=8, teacher=True)  # fmt: skip
    batch = read_batch(stream, result, stream.plan()[1])
    values = {}
    for row, hashes in zip(
        rows_of(result, "two"),
        result.read_rows("two", 0, info.rows, ["query_hash", "document_hash"]).to_pylist(),
        strict=True,
    ):
        values[hashes["query_hash"], hashes["document_hash"]] = row["score"]
        for text, value in zip(row["negative_hashes"], row["negative_scores"], strict=True):
            values[hashes["query_hash"], text] = value
    expected = [
        values[key] for key in zip(batch.query_hashes.tolist(), batch.document_hashes.tolist(), strict=True)
    ]
    np.testing.assert_array_equal(batch.document_scores, np.array(expected, np.float32))
    owners = batch.query_hashes[batch.negative_owners].tolist()
    expected = [values.get(key, np.nan) for key in zip(owners, batch.negative_hashes.tolist(), strict=True)]
    known = ~np.isnan(batch.negative_scores)
    np.testing.assert_array_equal(batch.negative_scores[known], np.array(expected, np.float32)[known])
    assert 0 < (~known).sum() < len(known), "random documents, of seven, beside five negatives"
    bare = read_batch(replace(stream, teacher=False), result, stream.plan()[1])
    assert not len(bare.document_scores) and not len(bare.negative_scores)
    assert bare.digest == batch.digest


def test_what_is_no_teacher_is_told(store, cross_encoder, tmp_path):
    with pytest.raises(
        RunError, match="is a cross-encoder, which reads a query and a document without prompts"
    ):
        load_scorer(cross_encoder, prompts=GivenPrompts(query="q: "))
    two = edit(
        copy(cross_encoder, tmp_path / "two"), "config.json", id2label={"0": "no", "1": "yes"}, num_labels=2
    )
    with pytest.raises(RunError, match=r"two: classifier.* is of shape \[1"):
        load_scorer(two)
    classes = bare_folder(tmp_path / "classes", num_labels=2)
    BertForSequenceClassification.from_pretrained(classes, num_labels=2).save_pretrained(classes)
    with pytest.raises(
        RunError, match="classes: gives 2 numbers for a pair of texts; allowed are cross-encoders that give"
    ):
        load_scorer(classes)
    bare = bare_folder(tmp_path / "bare")
    edit(bare, "config.json", architectures=["BertForSequenceClassification"])
    with pytest.raises(RunError, match="its weights lack"):
        load_scorer(bare)
    with pytest.raises(UsageError, match=r"--relative-margin is 1; allowed is a share below 1"):
        Margins(relative_margin=1)
    with pytest.raises(UsageError, match="allowed is another place"):
        scored(open_store(store.uri), store.uri, cross_encoder)
