"""Every command answers bad flags in one sentence and with exit code 2."""

import json
import subprocess
import sys

import pytest

from gte_ray import finetune, mine, pretrain
from gte_ray.cli.flags import defaults, parse
from gte_ray.config import from_dict
from gte_ray.data.store import open_store
from gte_ray.errors import UsageError
from gte_ray.pretrain import Arguments
from gte_ray.recipes import RECIPES, recipe
from gte_ray.runs.capacity import needs
from gte_ray.runs.plan import plan_steps
from tests.commands import HANGS

MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "gte_ray.pretrain", *arguments], capture_output=True, text=True, timeout=HANGS
    )


def test_a_flag_overrides_its_field_and_nothing_else():
    parsed = parse(Arguments, "prog", ["--recipe", "gte-base", "--store", "s3://b/s", "--alpha", "0.3"])
    expected = recipe("gte-base", "s3://b/s")
    assert parsed.config.data.alpha == 0.3
    assert parsed.config.training == expected.training
    assert parsed.config.model == expected.model
    assert not parsed.fresh


@pytest.mark.parametrize(
    ("flag", "fewest", "most", "needed"),
    [("3", 3, 3, {"CPU": 4, "GPU": 3}), ("2:8", 2, 8, {"CPU": 3, "GPU": 2})],
)
def test_workers_are_a_number_or_a_range(flag, fewest, most, needed):
    config = parse(Arguments, "prog", ["--recipe", "gte-base", "--workers", flag]).config
    assert (config.hardware.workers.fewest, config.hardware.workers.most) == (fewest, most)
    assert needs(config) == needed
    assert config.cpus == most
    assert from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_the_tracking_server_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert defaults([]).run.tracking_uri == "http://mlflow:5000"
    parsed = parse(Arguments, "prog", ["--tracking-uri", "sqlite:///a.db"])
    assert parsed.config.run.tracking_uri == "sqlite:///a.db"


@pytest.mark.processes
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--recipe", "nope"], "--recipe is 'nope'; allowed are tiny, gte-small, gte-base, gte-large"),
        (["--alpha", "-1"], "--alpha is -1.0; allowed is a number of at least 0"),
        (["--alpha", "much"], "Error parsing --alpha: could not convert string to float: 'much'"),
        (["--global-batch", "1"], "--global-batch is 1; allowed is at least 2 pairs"),
        (
            ["--workers", "8:2"],
            "--workers is '8:2'; allowed is a number of at least 1, or the fewest and the most",
        ),
        (["--nonsense", "3"], "Unrecognized options: --nonsense"),
        (["--zero-stage", "2"], "--zero-stage is 2; allowed is 0 or 1"),
    ],
)
def test_usage_errors(arguments, sentence):
    result = run(*arguments)
    assert result.returncode == 2
    assert sentence in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_a_source_named_twice_is_refused():
    with pytest.raises(UsageError, match="--sources is 'b a b'; allowed is each source once"):
        parse(Arguments, "prog", ["--sources", "b", "a", "b"])
    with pytest.raises(UsageError, match="--sources is 'b b'; allowed is each source once"):
        tyro_main(mine.main, ["mine", "store", "out", "--model", "bm25", "--sources", "b", "b"])


def tyro_main(main, argv):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", argv)
        main()


@pytest.mark.parametrize("batch", [None, 8, 64, 1_024])
@pytest.mark.parametrize("sources", [(), ("small",), ("middle", "small")])
def test_fine_tuning_is_one_epoch_whatever_the_flags(batch, sources, tiny_store):
    flags = ["--recipe", "gte-base", "--store", tiny_store, "--model", "scratch"]
    flags += ["--global-batch", str(batch)] * bool(batch) + ["--sources", *sources] * bool(sources)
    config = parse(finetune.Arguments, "prog", flags, defaults_of=finetune.defaults_of_one_epoch).config
    plan = plan_steps(config, open_store(tiny_store))
    pairs = sum(source.rows for source in plan.sources)
    assert config.training.global_batch == (batch or 128)
    assert (
        len(plan) == 1
        or abs(len(plan) * config.training.global_batch - pairs) <= config.training.global_batch / 2
    )


def fine_tuning(*flags):
    return parse(finetune.Arguments, "prog", list(flags), defaults_of=finetune.defaults_of_one_epoch).config


@pytest.mark.parametrize(
    ("width", "recipe", "rate"),
    [(16, "tiny", 2e-4), (256, "gte-small", 3e-5), (768, "gte-base", 2e-5), (1_024, "gte-large", 5e-6)],
)
def test_fine_tuning_without_a_recipe_is_that_of_a_model_of_the_size(
    width, recipe, rate, tiny_store, tmp_path
):
    """Length, too, is that of the folder; where it is computed stays as the tiny recipe has it."""
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": width}))
    (tmp_path / "modules.json").write_text(json.dumps(MODULES))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling/config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 300}))
    config = fine_tuning("--model", str(tmp_path), "--store", tiny_store)
    tiny = fine_tuning("--model", "scratch", "--store", tiny_store)
    assert (config.recipe, tiny.recipe) == (recipe, "tiny")
    assert config.training.learning_rate == pytest.approx(rate)
    assert (config.data.group_size, config.data.max_length) == ((4, 64) if recipe == "tiny" else (16, 300))
    assert (config.hardware, config.training.precision) == (tiny.hardware, "fp32")
    named = fine_tuning("--model", str(tmp_path), "--store", tiny_store, "--recipe", "gte-base")
    assert (named.recipe, named.data.max_length, named.hardware.gpu) == ("gte-base", 512, True)
    longer = fine_tuning("--model", str(tmp_path), "--store", tiny_store, "--max-length", "100")
    assert longer.data.max_length == 100


def test_a_recipe_of_an_embedding_model_needs_no_other_one(tiny_store):
    flags = ["--store", tiny_store, "--workers", "8", "--recipe"]
    adapters = fine_tuning(*flags, "qwen3-embedding-0.6b", "--lora-rank", "16")
    assert (adapters.model.base, adapters.model.lora_rank) == ("Qwen/Qwen3-Embedding-0.6B", 16)
    with pytest.raises(UsageError, match="--base is ''; allowed is a Hugging Face id, a folder"):
        fine_tuning(*flags, "gte-base")


@pytest.mark.processes
def test_help_shows_units_and_defaults():
    result = run("--recipe", "gte-base", "--help")
    assert result.returncode == 0
    text = " ".join(result.stdout.replace("│", " ").split())
    assert "Pairs of one step over all workers together. (default: 16384)" in text
    assert "--micro-batch-tokens INT" in text
    assert "--workers INT[:INT]" in text and "from 2 to 8. (default: 4)" in text
    assert "--eval SCOREBOARD@STEPS" in text


@pytest.mark.parametrize("module", [pretrain, finetune])
def test_the_recipes_are_listed_with_what_they_take(module, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["command", "--recipe", "LIST"])
    with pytest.raises(SystemExit) as stop:
        module.main()
    shown = capsys.readouterr().out
    assert stop.value.code == 0
    lines = {
        line.split()[0]: line.split()[1:]
        for line in shown.splitlines()
        if line.startswith(" ") and line.strip()
    }
    assert list(lines)[2:] == list(RECIPES)  # below the heading and its rule
    assert lines["gte-large"][:6] == ["330", "50,000", "16,384", "5e-05", "8", "GPU"]
    assert float(lines["gte-large"][7]) > float(lines["gte-base"][7]) > float(lines["gte-small"][7]) > 10
    assert float(lines["qwen3-embedding-8b"][6]) < 40  # its adapters alone have a state
    assert (
        "arctic-embed-m, from google-bert/bert-base-uncased: " in shown
        and "hours assume A100s at 35%" in shown
    )
