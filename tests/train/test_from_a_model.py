"""Fine-tuning a model of its own pooling and prompts, in one process: what is trained is what is exported."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense

from gte_ray.config import Config
from gte_ray.data.batch import from_table, to_table
from gte_ray.data.read import read_batch
from gte_ray.data.store import open_store
from gte_ray.errors import RunError
from gte_ray.evaluation.heldout import score_source, source_task
from gte_ray.evaluation.scoring import embedders
from gte_ray.exporting.card import ModelCard
from gte_ray.exporting.folder import export_model
from gte_ray.model.load import build_encoder, load_model
from gte_ray.pretrained.identity import of_run
from gte_ray.recipes.paper import tiny
from gte_ray.runs.base import check_base
from gte_ray.runs.plan import make_stream, plan_run, resolve_tokenizer, warnings
from gte_ray.train.engine import Engine
from gte_ray.train.step import train_step
from tests.model.folders import TEXTS, bare_folder, copy, edit, model_folder

PROMPTS = {"query": "river stone ", "document": "cloud "}


@pytest.fixture(scope="module")
def base(tiny_store, tmp_path_factory) -> str:
    """CLS pooling, a linear layer and prompts, with the store's tokenizer."""
    folder = tmp_path_factory.mktemp("base")
    bare_folder(folder / "bare")
    open_store(tiny_store).load_tokenizer().save(str(folder / "bare"))
    return model_folder(str(folder / "bare"), folder / "model", "cls", dense=[Dense(24, 10)], prompts=PROMPTS)


def config_of(store: str, base: str, output: Path, **model: object) -> Config:
    config = tiny(store)
    return replace(
        config,
        data=replace(config.data, max_length=20),
        model=replace(config.model, base=base, **model),
        training=replace(config.training, steps=4, global_batch=16),
        run=replace(config.run, output=str(output), name="run"),
    )


def test_what_is_trained_is_what_is_exported(tiny_store, base, tmp_path):
    run = plan_run(config_of(tiny_store, base, tmp_path))
    assert run.config.model.pooling == "cls"
    check_base(run.config)
    stream = make_stream(run, resolve_tokenizer(run))
    tokenizer, store = stream.tokenizer, open_store(tiny_store)
    encoder = build_encoder(run.config.model, tokenizer.vocab_size, tokenizer.pad_id, 20, run.config.seed)

    # Before the first step: the base model as sentence-transformers has it, on both sides.
    before, theirs = embedders(encoder, tokenizer, run.config), SentenceTransformer(base, device="cpu")
    theirs.max_seq_length = 20
    assert np.abs(before.queries(TEXTS) - theirs.encode_query(TEXTS)).max() <= 1e-5
    assert np.abs(before.documents(TEXTS) - theirs.encode_document(TEXTS)).max() <= 1e-5

    engine = Engine(encoder, run.config, torch.device("cpu"))
    for step in range(4):
        train_step(engine, read_batch(stream, store, run.plan[step]), run.config)
    after = embedders(engine.encoder, tokenizer, run.config)
    folder = str(tmp_path / "model")
    export_model(engine.encoder, tokenizer, folder, ModelCard("m", run.config, run.fingerprint, "make", ()))
    exported = SentenceTransformer(folder, device="cpu")
    assert np.abs(after.queries(TEXTS) - before_vectors(base, TEXTS)).max() > 1e-3  # it was trained
    assert np.abs(exported.encode_query(TEXTS) - after.queries(TEXTS)).max() <= 1e-5
    assert np.abs(exported.encode_document(TEXTS) - after.documents(TEXTS)).max() <= 1e-5

    # And so it is loaded, scored and trained from again.
    loaded = load_model(folder)
    assert np.abs(loaded.queries(TEXTS, 64) - after.queries(TEXTS)).max() <= 1e-5
    task = source_task(store, "middle", 50)
    scores = score_source(task, after.queries, after.documents)
    again = score_source(task, lambda t: loaded.queries(t, 999), lambda t: loaded.documents(t, 999))
    assert scores == again
    second = plan_run(config_of(tiny_store, folder, tmp_path))
    assert (second.config.model.pooling, second.base.prompts.query) == ("cls", PROMPTS["query"])


@pytest.mark.parametrize("asked", [None, True])
def test_prompts_that_are_not_pooled_are_trained_and_exported_so(asked, tiny_store, base, tmp_path):
    folder = edit(copy(base, tmp_path / "base"), "1_Pooling/config.json", include_prompt=False)
    run = plan_run(config_of(tiny_store, folder, tmp_path, pooling="mean", pool_prompts=asked))
    stream, store = make_stream(run, resolve_tokenizer(run)), open_store(tiny_store)
    tokenizer = stream.tokenizer
    batch = from_table(to_table([read_batch(stream, store, run.plan[0])]))
    taken = {
        side: 1 + len(tokenizer.content_ids([PROMPTS[side]], 20).values) for side in ("query", "document")
    }
    if asked:
        assert batch.queries.skipped is None and batch.documents.skipped is None
    else:
        assert set(batch.queries.skipped.tolist()) == {taken["query"]}
        assert set(batch.documents.cut(3, 9).skipped.tolist()) == {taken["document"]}
        assert any("which are not pooled" in line for line in warnings(run))
    encoder = build_encoder(run.config.model, tokenizer.vocab_size, tokenizer.pad_id, 20, run.config.seed)
    engine = Engine(encoder, run.config, torch.device("cpu"))
    train_step(engine, batch, run.config)
    exported = str(tmp_path / "model")
    export_model(engine.encoder, tokenizer, exported, ModelCard("m", run.config, run.fingerprint, "make", ()))
    after, theirs = (
        embedders(engine.encoder, tokenizer, run.config),
        SentenceTransformer(exported, device="cpu"),
    )
    assert np.abs(theirs.encode_query(TEXTS) - after.queries(TEXTS)).max() <= 1e-5
    assert np.abs(theirs.encode_document(TEXTS) - load_model(exported).documents(TEXTS, 64)).max() <= 1e-5
    plain = plan_run(replace(run.config, model=replace(run.config.model, pool_prompts=True)))
    assert (plain.fingerprint == run.fingerprint) == bool(asked)


def before_vectors(base: str, texts: list[str]) -> np.ndarray:
    return SentenceTransformer(base, device="cpu").encode_query(texts)


def test_batches_have_the_prompts_and_the_hashes_of_bare_texts(tiny_store, base, tmp_path):
    """Hard negatives are documents; the store has none, so random documents stand for them."""
    store, batches = open_store(tiny_store), []
    for name in (base, edit(copy(base, tmp_path / "none"), "config_sentence_transformers.json", prompts={})):
        config = config_of(tiny_store, name, tmp_path)
        run = plan_run(replace(config, data=replace(config.data, group_size=3)))
        stream = make_stream(run, resolve_tokenizer(run))
        assert stream.stored_ids == (name != base)
        batches.append((stream.tokenizer, read_batch(stream, store, run.plan[0])))
    (tokenizer, prompted), (_, bare) = batches
    for side, prompt in (("queries", "query"), ("documents", "document"), ("negatives", "document")):
        found, plain = getattr(prompted, side), getattr(bare, side)
        start = tokenizer.encode([PROMPTS[prompt]], 20).values[:-1]
        for text, own in zip(split(found), split(plain), strict=True):
            whole = [*start, *own[1:-1]]
            assert text.tolist() == [*whole[:19], own[-1]]
    assert np.array_equal(prompted.query_hashes, bare.query_hashes)
    assert np.array_equal(prompted.negative_hashes, bare.negative_hashes)


@pytest.mark.parametrize("start", ["scratch", "base"])
def test_prompts_that_are_given_are_trained_and_exported(start, tiny_store, base, tmp_path):
    given = (
        {"prompt_query": "stone ", "prompt_document": ""} if start == "base" else {"prompt_query": "stone "}
    )
    asked = config_of(tiny_store, base if start == "base" else "scratch", tmp_path, **given)
    run, plain = plan_run(asked), plan_run(replace(asked, model=replace(asked.model, prompt_query=None)))
    assert run.fingerprint != plain.fingerprint
    tokenizer = resolve_tokenizer(run)
    stream = make_stream(run, tokenizer)
    assert not stream.stored_ids  # these are without prompts
    assert any('go "stone " before queries and nothing before documents' in line for line in warnings(run))
    assert any(
        "are without prompts, so its texts are tokenised while training" in line for line in warnings(run)
    )
    batch = read_batch(stream, open_store(tiny_store), run.plan[0])
    (word,) = tokenizer.content_ids(["stone"], 20).values.tolist()
    assert all(text[1] == word for text in split(batch.queries))
    assert not all(text[1] == word for text in split(batch.documents))
    encoder = build_encoder(run.config.model, tokenizer.vocab_size, tokenizer.pad_id, 20, run.config.seed)
    export_model(
        encoder, tokenizer, str(tmp_path / "m"), ModelCard("m", run.config, run.fingerprint, "make", ())
    )
    vectors, exported = (
        embedders(encoder, tokenizer, run.config),
        SentenceTransformer(str(tmp_path / "m"), device="cpu"),
    )
    assert np.abs(exported.encode_query(TEXTS) - vectors.queries(TEXTS)).max() <= 1e-5
    assert np.abs(exported.encode_document(TEXTS) - vectors.documents(TEXTS)).max() <= 1e-5
    assert np.abs(vectors.queries(TEXTS) - vectors.documents(TEXTS)).max() > 1e-3


def split(tokens) -> list[np.ndarray]:
    return np.split(tokens.values, tokens.offsets[1:-1])


def test_pooling_is_in_what_is_printed_and_in_the_fingerprint(tiny_store, base, tmp_path):
    mean = edit(copy(base, tmp_path / "mean"), "1_Pooling/config.json", pooling_mode="mean")
    runs = {
        (name, asked): plan_run(config_of(tiny_store, name, tmp_path, pooling=asked))
        for name in (base, mean, "scratch")
        for asked in ("base", "mean", "cls", "last")
    }
    expected = {base: "cls", mean: "mean", "scratch": "mean"}
    for (name, asked), run in runs.items():
        assert run.config.model.pooling == (expected[name] if asked == "base" else asked)
        assert plan_run(run.config).fingerprint == run.fingerprint
    fingerprints = {key: run.fingerprint for key, run in runs.items()}
    for name, usual in expected.items():
        assert fingerprints[name, "base"] == fingerprints[name, usual]
    assert len(set(fingerprints.values())) == 9


def test_a_base_model_that_is_not_there_yet_has_the_fingerprint_that_it_will_have(tiny_store, tmp_path):
    for pooling in ("base", "mean", "cls"):
        first = plan_run(config_of(tiny_store, "scratch", tmp_path, pooling=pooling))
        assert first.config.model.pooling == ("mean" if pooling == "base" else pooling)
        for asked in ("base", "cls"):
            second = config_of(tiny_store, "/not/there", tmp_path, pooling=asked)
            planned = plan_run(second, of_run(first.fingerprint), first.config.model.pooling)
            again = plan_run(planned.config, of_run(first.fingerprint), first.config.model.pooling)
            assert planned.fingerprint == again.fingerprint
            assert planned.config.model.pooling == (first.config.model.pooling if asked == "base" else asked)


def test_what_a_user_should_know_of_a_base_model_is_told(tiny_store, base, tmp_path):
    told = " ".join(warnings(plan_run(config_of(tiny_store, base, tmp_path, pooling="mean"))))
    assert "--pooling mean" in told and "was made with cls pooling" in told
    assert '"river stone " before queries and "cloud " before documents' in told
    assert "the store's token ids are without prompts, so its texts are tokenised while training" in told


def test_training_refuses_what_scoring_refuses(tiny_store, base, tmp_path):
    folder = edit(copy(base, tmp_path / "max"), "1_Pooling/config.json", pooling_mode="max")
    with pytest.raises(RunError, match='pooling_mode = "max"'):
        plan_run(config_of(tiny_store, folder, tmp_path))
    with pytest.raises(RunError, match='pooling_mode = "max"'):
        load_model(folder)
