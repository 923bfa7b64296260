"""`gte_ray.warmup`: a language model of a store, as a start of training."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel

from gte_ray.ablation.command import main
from gte_ray.ablation.study import baseline
from gte_ray.cli.flags import WARM_MODEL
from gte_ray.config import validate
from gte_ray.errors import RunError
from gte_ray.recipes import recipe, warming
from gte_ray.runs.base import check_base
from gte_ray.runs.plan import make_stream, plan_run, resolve_tokenizer
from gte_ray.runs.warm import warm_up

ABLATIONS = Path(__file__).parents[1] / "ablations"


def config_of(store: str, output: Path, steps: int = 30):
    config = recipe("tiny", store)
    model = replace(config.model, hidden_size=32, layers=1, heads=2, intermediate_size=64)
    config = replace(
        config,
        model=model,
        data=replace(config.data, max_length=24),
        hardware=replace(config.hardware, threads=1, micro_batch_tokens=512),
        run=replace(config.run, output=str(output)),
    )
    return warming(config, steps, batch=32, rate=1e-2, seed=7)


def test_it_learns_and_is_a_start_of_training_and_the_same_again(tiny_store, tmp_path):
    losses: list[float] = []
    config = config_of(tiny_store, tmp_path)
    folder = warm_up(validate(config), str(tmp_path / "warm"), lambda step, loss: losses.append(loss))
    assert len(losses) == 30 and sum(losses[-5:]) < 0.8 * sum(losses[:5])
    again = warm_up(config, str(tmp_path / "again"), lambda step, loss: None)
    first, second = (AutoModel.from_pretrained(name).state_dict() for name in (folder, again))
    assert all(torch.equal(value, second[name]) for name, value in first.items() if "pooler" not in name)
    assert SentenceTransformer(folder, device="cpu").encode("a text").shape == (32,)
    assert "and none of them" in Path(folder, "README.md").read_text()
    start = replace(config, model=replace(config.model, base=folder))
    check_base(start)
    run = plan_run(start)
    assert make_stream(run, resolve_tokenizer(run)).stored_ids  # the store's ids serve
    assert run.fingerprint != plan_run(config).fingerprint


def test_the_command_says_what_it_does_and_what_is_allowed(here, workplace):
    code, out, err = here("warmup", "--store", "store", "--to", "warm", "--steps", "10", "--batch", "8")
    assert code == 0, err
    assert "training a language model of store: 10 steps" in out and "model   warm" in out
    assert out.count("loss of hidden tokens") == 10
    assert json.loads((workplace / "warm" / "config.json").read_text())["num_hidden_layers"] == 2
    for flag, value, allowed in (
        ("--steps", "0", "at least 1"),
        ("--batch", "1", "at least 2"),
        ("--learning-rate", "0", "a number from 0 to 1"),
    ):
        code, _, err = here("warmup", "--store", "store", flag, value)
        assert code == 2 and f"{flag} is {value}; allowed is {allowed}" in err
    (workplace / "full").mkdir()
    (workplace / "full" / "thesis.txt").write_text("mine")
    code, out, err = here("warmup", "--store", "store", "--to", "full", "--steps", "1", "--batch", "8")
    assert code == 1 and "holds something else than a model" in err and "loss" not in out  # before any work
    code, _, err = here("warmup", "--store", "store", "--seed", "-1")
    assert (code == 2 and "--seed -1" in err) or "--seed is -1" in err


def test_the_warm_profile_is_the_laptops_from_that_model():
    warm, laptop = baseline("warm", "store"), baseline("laptop", "store")
    assert warm.model.base == WARM_MODEL
    assert replace(warm, model=laptop.model) == laptop


def test_a_store_of_ones_own_needs_a_model_of_its_own(tiny_store, run_main, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run_main(
        lambda: main(ABLATIONS), "run.py", "loss", "--profile", "warm", "--store", tiny_store
    )
    assert code == 2
    assert (
        f"needs --model: a folder that `python -m gte_ray.warmup --store {tiny_store} --to FOLDER` makes"
        in " ".join(err.split())
    )


def test_a_store_without_pairs_is_told(tmp_path):
    with pytest.raises(RunError, match="the pair store is missing"):
        warm_up(config_of(str(tmp_path / "none"), tmp_path), str(tmp_path / "warm"), lambda *_: None)
