"""Training with a guide: what it reads, on any number of ranks, from a checkpoint, and what is told before."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gte_ray.config import Config
from gte_ray.data.batch import PairBatch, from_table, to_table
from gte_ray.data.read import read_batch, read_shards
from gte_ray.data.store import open_store
from gte_ray.errors import RunError
from gte_ray.model.guide import load_guide
from gte_ray.model.load import load_model, longest_text
from gte_ray.recipes.paper import tiny as recipe
from gte_ray.runs.base import check_base
from gte_ray.runs.forecast import forecast
from gte_ray.runs.plan import make_stream, plan_run, resolve_tokenizer, warnings
from gte_ray.train.engine import Engine
from gte_ray.train.step import train_step
from tests.model.folders import bare_folder, copy, edit, model_folder
from tests.train.runs import (
    CPU,
    encoder_of,
    lists,
    on_ranks,
    pairs,
    texts_of,
    tiny,
    with_groups,
    with_precision,
)

STEPS = 5
HASHED = ["query", "query_hash", "document", "document_hash"]
PROMPTS = {"query": "river stone ", "document": "cloud "}


@pytest.fixture(scope="module")
def guide(tmp_path_factory) -> str:
    """A model of other width than the one that is trained, with a tokenizer and prompts of its own."""
    folder = tmp_path_factory.mktemp("guide")
    made = model_folder(bare_folder(folder / "bare"), folder / "model", "cls", prompts=PROMPTS)
    return edit(made, "sentence_bert_config.json", max_seq_length=20)


def guided(config: Config, guide: str, margin: float = 0.0) -> Config:
    return replace(config, objective=replace(config.objective, guide=guide, guide_margin=margin))


def seen(step: int) -> PairBatch:
    """Pairs with hard negatives, in other tokens for the guide."""
    batch = pairs(step, hard=True)
    texts = (batch.queries, batch.documents, batch.negatives)
    shifted = [lists([np.minimum(ids + 7, 100) for ids in texts_of(tokens)]) for tokens in texts]
    return replace(batch, guide_queries=shifted[0], guide_documents=shifted[1], guide_negatives=shifted[2])


def trained(rank: int, ranks: int, config: Config) -> tuple[dict, list]:
    """The weights after some steps, and the metrics."""
    engine, metrics = Engine(encoder_of(config), config, CPU), []
    guide = load_guide(config, CPU)
    for step in range(STEPS):
        batch = seen(step)
        n = len(batch.queries)
        own = batch.cut(rank * n // ranks, (rank + 1) * n // ranks)
        metrics.append(train_step(engine, own, config, guide))
    return {name: p.detach().clone() for name, p in engine.encoder.named_parameters()}, metrics


def test_the_guide_sees_its_own_tokens(guide):
    batch, found = seen(0), load_guide(guided(tiny(micro_batch_tokens=40), guide), CPU)(seen(0))
    encoder = load_model(guide).encoder
    texts = (batch.guide_queries, batch.guide_documents, batch.guide_negatives)
    expected = torch.cat([encoder.encode(tokens, 999) for tokens in texts])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    plain = load_guide(guided(tiny(), guide), CPU)(pairs(0, hard=True))
    torch.testing.assert_close(
        plain[: len(batch.queries)], encoder.encode(batch.queries, 999), rtol=0, atol=1e-5
    )
    assert load_guide(tiny(), CPU) is None


@pytest.mark.processes
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_equal_one_process(ranks, guide, tmp_path):
    config = guided(with_groups(tiny(graph_tokens=60, micro_batch_tokens=50, loss_tile=2)), guide, 0.02)
    torch.set_num_threads(1)
    weights, metrics = trained(0, 1, guided(with_groups(tiny()), guide, 0.02))
    without, _ = trained(0, 1, with_groups(tiny()))
    assert all(0.05 < found.guide_share < 0.95 for found in metrics)
    assert any((weights[name] - without[name]).abs().max() > 1e-3 for name in weights)
    for found, theirs in on_ranks(ranks, trained, tmp_path, ranks, config):
        assert [m.guide_share for m in theirs] == pytest.approx([m.guide_share for m in metrics])
        assert [m.loss for m in theirs] == pytest.approx([m.loss for m in metrics], abs=1e-4)
        for name, value in weights.items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-5)


def test_a_run_goes_on_from_a_checkpoint(guide, tmp_path):
    config = guided(with_groups(tiny()), guide)
    _, wanted = trained(0, 1, config)
    engine = Engine(encoder_of(config), config, CPU)
    for step in range(2):
        train_step(engine, seen(step), config, load_guide(config, CPU))
    engine.save(str(tmp_path))
    second = Engine(encoder_of(config), config, CPU)
    second.load(str(tmp_path))
    found = [train_step(second, seen(step), config, load_guide(config, CPU)).loss for step in range(2, STEPS)]
    assert found == [m.loss for m in wanted[2:]]


def config_of(store: str, guide: str, output: Path) -> Config:
    config = recipe(store)
    return guided(
        replace(
            config,
            data=replace(config.data, max_length=24, group_size=3),
            training=replace(config.training, steps=4, global_batch=16),
            run=replace(config.run, output=str(output), name="run"),
        ),
        guide,
    )


@pytest.mark.parametrize("retokenize", [False, True])
def test_batches_have_the_texts_in_the_guides_tokens(retokenize, tiny_store, guide, tmp_path):
    """Cut where the guide's folder says, and with its prompts, whatever the model itself reads."""
    config = config_of(tiny_store, guide, tmp_path)
    run = plan_run(replace(config, hardware=replace(config.hardware, retokenize=retokenize)))
    stream, store = make_stream(run, resolve_tokenizer(run)), open_store(tiny_store)
    assert stream.guide.max_length == 20
    without = read_batch(replace(stream, guide=None), store, run.plan[1])
    batch = read_batch(stream, store, run.plan[1])
    for name in ("queries", "documents", "negatives"):
        assert np.array_equal(getattr(batch, name).values, getattr(without, name).values)
        assert len(getattr(without, f"guide_{name}")) == 0
    assert np.array_equal(batch.negative_hashes, without.negative_hashes)
    rows = store.read_rows(batch.source, 0, store.source(batch.source).rows, HASHED)
    tokenizer = load_model(guide).tokenizer
    # The store has no hard negatives, so random documents stand for them.
    for name, side in (("queries", "query"), ("documents", "document"), ("negatives", "document")):
        text_of = dict(zip(rows[f"{side}_hash"].to_pylist(), rows[side].to_pylist(), strict=True))
        hashes = getattr(
            batch, {"queries": "query_hashes", "documents": "document_hashes"}.get(name, "negative_hashes")
        )
        found = texts_of(getattr(batch, f"guide_{name}"))
        assert len(found) == len(hashes) >= 16
        for ids, hash_ in zip(found, hashes.tolist(), strict=True):
            assert ids.tolist() == tokenizer.encode([text_of[hash_]], 20, PROMPTS[side]).values.tolist()
    cut = read_shards(stream, store, run.plan[1], range(1, 3), 3)
    whole = [from_table(to_table([shard])) for shard in cut]
    sizes = [len(shard.guide_negatives) for shard in whole]
    assert sizes == [len(shard.negatives) for shard in whole] and len(whole[0].guide_queries) == 5
    assert np.array_equal(whole[0].guide_documents.values, batch.guide_documents.cut(5, 10).values)


def test_what_reads_the_same_tokens_reads_them_once(tiny_store, guide, tmp_path):
    bare = bare_folder(tmp_path / "bare")
    open_store(tiny_store).load_tokenizer().save(bare)
    same = model_folder(bare, tmp_path / "same")
    shorter = edit(copy(same, tmp_path / "short"), "sentence_bert_config.json", max_seq_length=12)
    prompted = edit(copy(same, tmp_path / "prompt"), "config_sentence_transformers.json", prompts=PROMPTS)
    readers = []
    for folder in (same, shorter, prompted):
        config = config_of(tiny_store, folder, tmp_path)
        run = plan_run(replace(config, data=replace(config.data, max_length=24)))
        readers.append(make_stream(run, resolve_tokenizer(run)).guide)
    assert readers[0] is None and readers[1].max_length == 12 and readers[2].tokenizer.prompts


def test_the_fingerprint_is_of_its_weights_and_a_missing_one_is_told(tiny_store, guide, tmp_path):
    moved = copy(guide, tmp_path / "e5-small")
    other = model_folder(bare_folder(tmp_path / "bare"), tmp_path / "other", prompts=PROMPTS)
    runs = [plan_run(config_of(tiny_store, name, tmp_path)) for name in (guide, moved, other)]
    assert runs[0].fingerprint == runs[1].fingerprint != runs[2].fingerprint
    edit(moved, "config_sentence_transformers.json", prompts={})
    assert any("e5-small" in line and "query: " in line for line in warnings(plan_run(runs[1].config)))
    check_base(runs[0].config)
    with pytest.raises(RunError, match="nowhere"):
        check_base(config_of(tiny_store, str(tmp_path / "nowhere"), tmp_path))


def test_the_forecast_counts_the_guide(tiny_store, guide, tmp_path):
    run = plan_run(config_of(tiny_store, guide, tmp_path))
    config = with_precision(replace(run.config, hardware=replace(run.config.hardware, gpu=True)), "fp16")
    found, without = (forecast(c, run.store, run.plan) for c in (config, guided(config, "")))
    weights = sum(value.numel() for value in load_model(guide).encoder.parameters())
    more = (found.state_bytes - without.state_bytes) / 2
    assert weights <= more <= weights + 512 * 24  # as if it had the positions of BERT
    assert found.seconds > without.seconds


def test_a_guide_whose_numbers_are_none_ends_the_run(guide, tmp_path):
    config = guided(tiny(), guide)
    engine, model = Engine(encoder_of(config), config, CPU), load_guide(config, CPU)
    model._encoder.backbone.get_input_embeddings().weight.data[10] = float("nan")
    before = {name: p.detach().clone() for name, p in engine.encoder.named_parameters()}
    with pytest.raises(
        RunError, match=r"the guide .* gives vectors that are not finite in fp32 \(step 0, source source\)"
    ):
        train_step(engine, pairs(0), config, model)
    assert all(torch.equal(p, before[name]) for name, p in engine.encoder.named_parameters())


def test_a_prompt_that_leaves_no_room_at_the_length_of_the_run_is_told(tiny_store, guide, tmp_path):
    config = config_of(tiny_store, guide, tmp_path)
    check_base(config)
    short = replace(config, data=replace(config.data, max_length=4))
    with pytest.raises(RunError, match="max_length is 4, and its prompt 'river stone ' would leave no token"):
        check_base(short)


def test_the_length_of_a_guide_that_names_none_is_that_of_its_positions(tmp_path):
    bare = bare_folder(tmp_path / "bare")
    assert longest_text(bare) == load_model(bare).max_length == 40
