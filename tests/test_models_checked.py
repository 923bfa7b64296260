"""A model that cannot be used ends every command before any work: exit code 1, one line, no Ray."""

import subprocess
import sys

import pytest

from tests.model.folders import bare_folder, edit, model_folder

COMMANDS = {
    "evaluate": ("{model}", "--store", "{store}", "--output", "{out}"),
    "mine": ("{store}", "{out}", "--model", "{model}"),
    "pretrain": ("--store", "{store}", "--model", "{model}", "--max-length", "16", "--output", "{out}"),
    "finetune": ("--store", "{store}", "--model", "{model}", "--max-length", "16", "--output", "{out}"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    good = model_folder(bare_folder(folder / "bare"), folder / "good")
    half = folder / "half"
    model_folder(bare_folder(folder / "bare2"), half)
    weights = (half / "model.safetensors").read_bytes()
    (half / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    edit(good, "1_Pooling/config.json", pooling_mode="max")
    return {"max": good, "half": str(half), "nosuch": "runs/nosuch/model"}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("model", "said"),
    [("max", 'pooling_mode = "max"'), ("half", "weights cannot be read"), ("nosuch", "no such folder here")],
)
def test_one_sentence_before_any_work(
    command, model, said, models, tiny_store, run_main, tmp_path, monkeypatch
):
    import importlib

    module = importlib.import_module(f"gte_ray.{command}")

    def never(*arguments):
        raise AssertionError("work has begun")

    for name in ("start_ray", "until_interrupted"):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, never)
    out = tmp_path / "out"
    values = {"model": models[model], "store": tiny_store, "out": str(out)}
    arguments = [argument.format(**values) for argument in COMMANDS[command]]
    code, shown, error = run_main(module.main, command, *arguments)
    assert code == 1
    assert error.startswith("error: ") and error.count("\n") == 1
    assert said in error and not shown and not out.exists()


@pytest.mark.processes
def test_a_process_of_its_own_says_one_line(models, tiny_store, tmp_path):
    command = [
        sys.executable,
        "-m",
        "gte_ray.mine",
        tiny_store,
        str(tmp_path / "out"),
        "--model",
        models["half"],
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert (done.stdout + done.stderr).count("\n") == 1
    assert done.stderr.startswith("error: ")
