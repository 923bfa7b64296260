"""Low-rank adapters: what is trained, saved, gone on from, and exported."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense

from gte_ray.config import Config, from_dict, validate
from gte_ray.errors import RunError, UsageError
from gte_ray.exporting.card import ModelCard
from gte_ray.exporting.folder import export_model
from gte_ray.model.encoder import Encoder
from gte_ray.model.load import build_encoder, load_model
from gte_ray.model.weights_file import WEIGHTS_FILE, load_weights
from gte_ray.runs import checkpoint_model
from gte_ray.runs.forecast import forecast
from gte_ray.runs.plan import plan_run
from gte_ray.runs.run_folder import open_run
from gte_ray.train.engine import Engine
from gte_ray.train.step import train_step
from tests.model.folders import TEXTS, bare_folder, model_folder
from tests.train.runs import CPU, LENGTH, VOCABULARY, on_ranks, pairs, shard, tiny

STEPS = 5


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, str]:
    """Models of random weights by their kind; BERT with a linear layer after its pooling."""
    folder = tmp_path_factory.mktemp("bases")
    bert = model_folder(bare_folder(folder / "bare"), folder / "bert", "cls", dense=[Dense(24, 10)])
    shape = {"vocab_size": 300, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
             "num_key_value_heads": 1, "head_dim": 12, "intermediate_size": 32, "pad_token_id": 0}  # fmt: skip
    return {"bert": bert, "qwen3": bare_folder(folder / "qwen3", "qwen3", **shape)}


def config_of(base: str, rank: int = 3, **hardware: object) -> Config:
    config = tiny(**hardware)
    return replace(config, model=replace(config.model, base=base, lora_rank=rank, lora_alpha=6))


def encoder_of(config: Config) -> Encoder:
    return build_encoder(config.model, VOCABULARY, 0, LENGTH, config.seed)


def state(encoder: Encoder) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in encoder.named_parameters()}


def adapters(encoder: Encoder) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state(encoder).items() if ".lora_" in name}


def trained(rank: int, ranks: int, config: Config, steps: int = STEPS) -> tuple[dict, list[float]]:
    """The adapters after some steps, and the losses."""
    engine = Engine(encoder_of(config), config, CPU)
    losses = [train_step(engine, shard(pairs(step), rank, ranks), config).loss for step in range(steps)]
    return adapters(engine.encoder), losses


@pytest.mark.parametrize("kind", ["bert", "qwen3"])
def test_the_adapters_alone_are_trained_and_the_export_has_them_merged(kind, bases, tmp_path):
    config = config_of(bases[kind])
    encoder, whole = encoder_of(config), encoder_of(config_of(bases[kind], rank=0))
    texts = pairs(0).queries
    torch.testing.assert_close(encoder.encode(texts, 64), whole.encode(texts, 64))
    before, engine = state(encoder), Engine(encoder, config, CPU)
    train_step(engine, pairs(0), config)
    factors = [value for name, value in state(encoder).items() if ".lora_B." in name]
    assert len(factors) == 2 * (6 if kind == "bert" else 7) and all(factor.any() for factor in factors)
    for step in range(1, STEPS):
        train_step(engine, pairs(step), config)
    for name, value in state(encoder).items():
        assert torch.equal(value, before[name]) == (".lora_" not in name), name
    vectors = encoder.encode(texts, 64)
    assert (vectors - whole.encode(texts, 64)).abs().max() > 1e-3
    tokenizer, folder = load_model(bases[kind]).tokenizer, str(tmp_path / "model")
    export_model(encoder, tokenizer, folder, ModelCard("m", config, "0" * 16, "make", ()))
    torch.testing.assert_close(encoder.encode(texts, 64), vectors, rtol=1e-4, atol=1e-5)
    merged = load_file(Path(folder, WEIGHTS_FILE))
    assert not [name for name in merged if "lora" in name or "base_layer" in name]
    theirs, ours = SentenceTransformer(folder, device="cpu"), load_model(folder)
    assert np.abs(theirs.encode(TEXTS) - ours.embed(TEXTS, 64)).max() <= 1e-5
    assert np.abs(ours.encoder.encode(texts, 64) - vectors).max() <= 1e-5


def test_a_checkpoint_has_the_adapters_alone_and_a_run_goes_on_from_it(bases, tmp_path):
    config = config_of(bases["bert"])
    wanted, losses = trained(0, 1, config)
    engine = Engine(encoder_of(config), config, CPU)
    for step in range(2):
        train_step(engine, pairs(step), config)
    engine.save(str(tmp_path))
    assert set(load_file(tmp_path / WEIGHTS_FILE)) == set(wanted)
    scored = encoder_of(config)
    load_weights(scored, str(tmp_path / WEIGHTS_FILE))
    texts = pairs(0).queries
    torch.testing.assert_close(scored.encode(texts, 64), engine.encoder.encode(texts, 64), rtol=0, atol=0)
    second = Engine(encoder_of(config), config, CPU)
    second.load(str(tmp_path))
    found = [train_step(second, pairs(step), config).loss for step in range(2, STEPS)]
    assert found == losses[2:]
    assert all(torch.equal(value, wanted[name]) for name, value in adapters(second.encoder).items())


@pytest.mark.processes
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_equal_one_process(ranks, bases, tmp_path):
    config = config_of(bases["bert"], graph_tokens=60, micro_batch_tokens=50, gradient_checkpointing=True)
    wanted, losses = trained(0, 1, config_of(bases["bert"]))
    for weights, found in on_ranks(ranks, trained, tmp_path, ranks, config):
        assert found == pytest.approx(losses, abs=1e-4)
        for name, value in weights.items():
            torch.testing.assert_close(value, wanted[name], rtol=0, atol=1e-5)


def test_the_forecast_counts_the_adapters_that_are_made(bases, tiny_store):
    """The base's weights in float32; of the adapters also gradients, and AdamW's moments with their copy."""
    config = config_of(bases["bert"])
    run = plan_run(replace(config, data=replace(config.data, store=tiny_store)))
    found = forecast(run.config, run.store, run.plan)
    count = sum(value.numel() for value in adapters(encoder_of(config)).values())
    assert found.state_bytes == found.shape.parameters * 4 + count * (8 + 12)


def test_the_mean_of_adapters_is_no_model(bases, tiny_store, tmp_path, monkeypatch):
    config = config_of(bases["bert"])
    place = replace(config.run, output=str(tmp_path), name="run")
    run = plan_run(replace(config, data=replace(config.data, store=tiny_store), run=place))
    open_run(run, fresh=False)
    monkeypatch.setattr(checkpoint_model, "checkpoints_of", lambda folder: {2: None, 4: None})
    with pytest.raises(
        UsageError, match=r"--average is 2; allowed is 1 for a run with adapters \(--lora-rank\)"
    ):
        checkpoint_model.export_checkpoint(run.folder, "", checkpoint_model.Chosen(average=2))


def test_what_cannot_have_adapters_is_told(bases, monkeypatch):
    with pytest.raises(
        UsageError, match=r"--lora-rank is 3; allowed is 0 with random weights \(--model scratch\)"
    ):
        validate(config_of("scratch"))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "peft", None)
        with pytest.raises(RunError, match=r"--lora-rank needs peft: pip install 'gte_ray\[lora\]'"):
            encoder_of(config_of(bases["bert"]))
    off, on = config_of("base", rank=0), config_of("base")
    prints = [
        config.fingerprint("pairs", "base")
        for config in (off, on, replace(off, model=replace(off.model, lora_alpha=9)))
    ]
    assert prints[0] == prints[2] != prints[1]
    assert from_dict(json.loads(json.dumps(on.to_dict()))) == on
