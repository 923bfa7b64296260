"""The config tree: validation in one sentence, and what makes two runs the same."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gte_ray.config import Config, from_dict, validate
from gte_ray.config.fields import Evaluation, Workers
from gte_ray.errors import UsageError
from gte_ray.recipes import RECIPES, finetuning, recipe


def changed(config: Config, section: str, **fields) -> Config:
    return dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **fields)})


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_valid_and_survive_json(name):
    config = validate(recipe(name, "store"))
    assert config.recipe == name
    assert from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_recipes_hold_the_papers_numbers():
    """Table 3 and section 3.4."""
    rows = {"gte-small": (3e-4, 2, 384, 12), "gte-base": (2e-4, 4, 768, 12), "gte-large": (5e-5, 8, 1024, 24)}
    for name, (learning_rate, gpus, width, layers) in rows.items():
        config = recipe(name, "store")
        training = config.training
        assert (training.learning_rate, config.hardware.workers) == (learning_rate, Workers.exactly(gpus))
        assert (config.model.hidden_size, config.model.layers) == (width, layers)
        assert (training.global_batch, training.steps, training.warmup) == (16_384, 50_000, 0.05)
        assert (training.precision, config.hardware.zero_stage) == ("fp16", 1)
        assert (config.data.max_length, config.data.alpha) == (128, 0.5)
        assert config.objective.temperature == 0.01
        assert set(config.objective.directions) == {"q2d", "q2q", "d2q", "d2d"}


def test_recipes_of_later_models_differ_from_the_papers_where_that_is_published():
    base, modern, qwen = (
        recipe(name, "s") for name in ("gte-base", "gte-modernbert", "qwen3-embedding-0.6b")
    )
    assert (modern.objective, modern.training, modern.data) == (base.objective, base.training, base.data)
    assert modern.model.pooling == "cls"
    assert (set(qwen.objective.directions), qwen.objective.false_negative_margin) == (
        {"q2d", "q2q", "d2d"},
        0.1,
    )
    assert (qwen.model.pooling, qwen.training.precision) == ("base", "bf16")


def test_recipes_that_go_on_from_a_model_keep_their_rate_and_adapters_have_their_own():
    base, qwen, large = (
        finetuning(name, "s", "m", 10_000)
        for name in ("gte-base", "qwen3-embedding-0.6b", "qwen3-embedding-4b")
    )
    assert (base.training.learning_rate, qwen.training.learning_rate) == pytest.approx((2e-5, 5e-6))
    assert (large.model.lora_rank, large.training.learning_rate) == (16, 1e-4)
    whole = finetuning("qwen3-embedding-4b", "s", "m", 10_000, lora_rank=0)
    assert (whole.model.lora_rank, whole.training.learning_rate) == (0, 5e-6)
    adapted = recipe("gte-base", "s", lora_rank=8)
    assert (adapted.model.lora_rank, adapted.training.learning_rate) == (8, 1e-4)
    assert recipe("gte-base", "s", 0) == recipe("gte-base", "s")


def test_recipes_of_neighbours_have_what_they_publish():
    nomic, arctic, gemma, mgte = (
        recipe(name, "s")
        for name in ("nomic-embed", "arctic-embed-m", "embeddinggemma-300m", "gte-multilingual")
    )
    for config in (nomic, arctic):
        assert (config.objective.directions, config.objective.temperature) == (("q2d",), 0.02)
    assert (nomic.model.prompt_query, nomic.training.learning_rate) == ("search_query: ", 2e-4)
    assert nomic.training.warmup * nomic.training.steps == pytest.approx(700)
    assert arctic.objective.levels == ((768, 0.5), (256, 0.5))
    assert arctic.training.schedule == "wsd" and arctic.training.max_grad_norm == 10
    assert arctic.training.steps * arctic.training.warmup == pytest.approx(2_000)
    assert arctic.training.steps * arctic.training.cooldown == pytest.approx(2_000)
    assert [k for k, _ in gemma.objective.levels] == [768, 512, 256, 128]
    second = finetuning("gte-multilingual", "s", "m", 10_000)
    assert (second.data.alpha, second.data.split_alpha) == (1.0, None)  # each pair once
    assert (mgte.model.pooling, mgte.data.split_alpha, mgte.model.vocab_size) == ("cls", 0.5, 250_048)


@pytest.mark.parametrize(
    ("section", "fields", "message"),
    [
        ("data", {"alpha": -0.1}, "--alpha is -0.1"),
        ("data", {"alpha": math.nan}, "--alpha is nan; allowed is a finite number"),
        ("training", {"learning_rate": math.inf}, "--learning-rate is inf; allowed is a finite number"),
        ("data", {"max_length": 2}, "--max-length is 2"),
        ("training", {"global_batch": 1}, "--global-batch is 1"),
        ("training", {"steps": 0}, "--steps is 0"),
        (
            "training",
            {"precision": "fp16"},
            "--precision is 'fp16'; allowed is fp32 or bf16 where there is no GPU",
        ),
        ("hardware", {"zero_stage": 2}, "--zero-stage is 2.*reduce gradients at each backward"),
        ("hardware", {"zero_stage": 3}, "--zero-stage is 3"),
        (
            "hardware",
            {"workers": Workers.exactly(0)},
            "--workers is '0'; allowed is a number of at least 1, or the",
        ),
        ("hardware", {"workers": Workers.exactly(513)}, "at most global-batch"),
        ("model", {"heads": 3}, "a multiple of heads"),
        ("model", {"hidden_dropout": 1.0}, "--hidden-dropout is 1.0"),
        ("objective", {"temperature": 0.0}, "--temperature is 0.0"),
        ("objective", {"directions": ("q2q",)}, "a set that has q2d"),
        ("objective", {"directions": ("q2d", "q2d")}, "each direction once"),
        ("run", {"checkpoints_kept": 0}, "--checkpoints-kept is 0"),
        ("hardware", {"workers": Workers(2, 513)}, "--workers is '2:513'; allowed is at most global-batch"),
        (
            "run",
            {"eval": Evaluation("heldout", 3)},
            "--eval is 'heldout@3'.*multiple of checkpoint-every .50",
        ),
        ("hardware", {"workers": Workers(8, 2)}, "--workers is '8:2'; allowed is a number of at least 1"),
        ("run", {"name": "a/b"}, "--name is 'a/b'"),
    ],
)
def test_what_is_out_of_range_is_named(section, fields, message):
    with pytest.raises(UsageError, match=message):
        validate(changed(recipe("tiny", "store"), section, **fields))


def test_the_first_of_several_fields_is_named():
    config = changed(recipe("tiny", "store"), "run", max_failures=-1)
    config = changed(changed(config, "training", steps=0), "model", layers=0)
    with pytest.raises(UsageError, match=r"^--layers is 0; allowed is a number of at least 1$"):
        validate(config)


def test_a_config_on_its_way_is_not_checked():
    """Ablations change one field and then another."""
    on_its_way = changed(recipe("tiny", "store"), "model", heads=3)
    assert validate(changed(on_its_way, "model", hidden_size=96)).model.heads == 3


@given(workers=st.integers(1, 64).flatmap(lambda n: st.builds(Workers, st.just(n), st.integers(n, 64))))
def test_workers_are_read_as_they_are_written(workers):
    assert Workers.parse(str(workers)) == workers
    assert (":" in str(workers)) == workers.elastic


@pytest.mark.parametrize("text", ["0", "8:2", "0:2", "2:", ":2", "1:2:3", "", "-1", "many", "²"])
def test_what_are_no_workers(text):
    with pytest.raises(ValueError, match="a number of at least 1, or the fewest and the most as in 2:8"):
        Workers.parse(text)


@pytest.mark.parametrize(("text", "found"), [("", Evaluation()), ("heldout@50", Evaluation("heldout", 50))])
def test_evaluations_are_read_as_they_are_written(text, found):
    assert Evaluation.parse(text) == found
    assert str(found) == text


def test_a_config_that_an_older_version_wrote_is_read():
    config = recipe("gte-base", "store")
    saved = json.loads(json.dumps(config.to_dict()))
    assert saved["hardware"]["workers"] == "4" and saved["run"]["eval"] == ""
    saved["hardware"]["workers"] = 4
    saved["hardware"]["gone"] = 1
    del saved["objective"]["mask_duplicates"]
    del saved["model"]["hidden_dropout"], saved["model"]["attention_dropout"]
    saved["model"]["dropout"] = 0.1
    assert from_dict(saved) == changed(config, "model", hidden_dropout=0.1, attention_dropout=0.1)


def test_what_a_saved_config_lacks_is_named():
    saved = recipe("tiny", "store").to_dict()
    del saved["training"]["steps"]
    with pytest.raises(UsageError, match="--steps is missing"):
        from_dict(saved)


@pytest.mark.parametrize("model", [None, 3, "dropout", []])
def test_a_saved_config_whose_model_is_none_is_refused(model):
    saved = recipe("tiny", "store").to_dict() | {"model": model}
    with pytest.raises(UsageError, match="--model is"):
        from_dict(saved)


def test_unknown_recipe_lists_those_there_are():
    with pytest.raises(UsageError, match="'nope'; allowed are tiny, gte-small, gte-base, gte-large"):
        recipe("nope", "store")


def identity(config: Config, store: str = "s", base: str = "scratch") -> str:
    return config.fingerprint(store, base)


@given(
    workers=st.integers(1, 64).map(Workers.exactly) | st.sampled_from([Workers(1, 2), Workers(4, 64)]),
    tokens=st.integers(128, 10**6),
    output=st.text("abc/", min_size=1),
    store=st.text("abc/:", min_size=1),
)
def test_where_a_run_is_computed_leaves_its_fingerprint(workers, tokens, output, store):
    base = recipe("tiny", "store")
    moved = changed(base, "hardware", workers=workers, micro_batch_tokens=tokens, graph_tokens=0)
    moved = changed(moved, "run", output=output, tracking_uri="http://elsewhere", checkpoint_every=7)
    moved = changed(moved, "data", store=store)
    assert identity(moved) == identity(base)


@pytest.mark.parametrize(
    ("name", "fingerprint"),
    [
        ("tiny", "1d21ba6cbed5f5bf"),
        ("gte-small", "4388cbd963b538c1"),
        ("gte-base", "dd766b061c0b4f25"),
        ("gte-large", "92cf4de363ed519d"),
    ],
)
def test_runs_of_older_versions_are_gone_on_with(name, fingerprint):
    """Where this fails on purpose, COMPUTATION is to be raised, and runs that were begun are trained anew."""
    assert identity(recipe(name, "s"), "s", "b") == fingerprint


def test_the_order_of_sets_leaves_the_fingerprint():
    base = recipe("tiny", "store")
    one, other = (changed(base, "data", sources=s) for s in (("a", "b"), ("b", "a")))
    assert identity(one) == identity(other)
    one, other = (changed(base, "objective", directions=d) for d in (("q2d", "d2q"), ("d2q", "q2d")))
    assert identity(one) == identity(other)


@pytest.mark.parametrize(
    ("section", "fields"),
    [
        ("data", {"alpha": 0.3}),
        ("data", {"sources": ("a",)}),
        ("data", {"max_length": 32}),
        ("data", {"group_size": 16}),
        ("model", {"layers": 3}),
        ("model", {"hidden_dropout": 0.2}),
        ("model", {"attention_dropout": 0.2}),
        ("objective", {"directions": ("q2d",)}),
        ("objective", {"mask_duplicates": False}),
        ("training", {"global_batch": 64}),
        ("training", {"steps": 7}),
        ("training", {"learning_rate": 1e-5}),
        ("training", {"precision": "bf16"}),
    ],
)
def test_what_is_computed_makes_the_fingerprint(section, fields):
    base = recipe("tiny", "store")
    assert identity(changed(base, section, **fields)) != identity(base)


def test_seed_and_store_make_the_fingerprint():
    base = recipe("tiny", "store")
    assert identity(dataclasses.replace(base, seed=43)) != identity(base)
    assert identity(base, "other pairs") != identity(base)


def test_the_base_models_weights_make_the_fingerprint_and_not_their_place():
    one, other = (changed(recipe("tiny", "store"), "model", base=folder) for folder in ("a", "b"))
    assert identity(one, base="weights 1") == identity(other, base="weights 1")
    assert identity(one, base="weights 1") != identity(one, base="weights 2")


def test_every_field_is_one_flag():
    sections = [f for f in dataclasses.fields(Config) if dataclasses.is_dataclass(f.type)]
    names = [field.name for section in sections for field in dataclasses.fields(section.type)]
    names += [f.name for f in dataclasses.fields(Config) if f not in sections]
    assert len(names) == len(set(names))
