"""A process that is killed while it trains with adapters, a guide or a rate that waits: what goes on loses the same."""

import json
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gte_ray.config import Config
from gte_ray.model.guide import load_guide
from gte_ray.model.load import build_encoder
from gte_ray.train.engine import Engine
from gte_ray.train.step import train_step
from tests.model.folders import bare_folder, model_folder
from tests.train.runs import CPU, LENGTH, VOCABULARY, pairs, tiny, with_groups

STEPS, KILLED = 6, 4
"""Of all steps that after which the process is killed; WSD's rate falls from the fourth on."""


@pytest.fixture(scope="module")
def configs(tmp_path_factory) -> dict[str, Config]:
    folder = tmp_path_factory.mktemp("killed")
    base = model_folder(bare_folder(folder / "bare"), folder / "base", "cls")
    config = tiny()
    waiting = replace(config.training, steps=STEPS, schedule="wsd", warmup=0.17, cooldown=0.5)
    adapted = replace(config.model, base=base, lora_rank=3, lora_alpha=6)
    guided = with_groups(config)
    return {
        "wsd": replace(config, training=waiting),
        "adapters": replace(config, model=adapted),
        "guide": replace(guided, objective=replace(guided.objective, guide=base, guide_margin=0.02)),
    }


def engine_of(config: Config) -> Engine:
    return Engine(build_encoder(config.model, VOCABULARY, 0, LENGTH, config.seed), config, CPU)


def losses(engine: Engine, config: Config, steps: range, folder: Path | None = None) -> list[float]:
    """With a checkpoint after each step, in a folder of its own."""
    guide, found = load_guide(config, CPU), []
    for step in steps:
        found.append(train_step(engine, pairs(step, hard=guide is not None), config, guide).loss)
        if folder is not None:
            engine.save(str(folder / str(step)))
    return found


def train_and_die(configs: dict[str, Config], folder: str) -> None:
    torch.set_num_threads(1)
    done = {
        name: losses(engine_of(config), config, range(KILLED), Path(folder, name))
        for name, config in configs.items()
    }
    Path(folder, "losses.json").write_text(json.dumps(done))
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.processes
def test_what_is_killed_goes_on_to_the_bit(configs, tmp_path):
    torch.set_num_threads(1)
    process = multiprocessing.get_context("spawn").Process(
        target=train_and_die, args=(configs, str(tmp_path))
    )
    process.start()
    process.join(180)
    assert process.exitcode == -signal.SIGKILL
    done = json.loads((tmp_path / "losses.json").read_text())
    for name, config in configs.items():
        expected = losses(engine_of(config), config, range(STEPS))
        again = engine_of(replace(config, seed=99) if name == "wsd" else config)
        again.load(str(tmp_path / name / str(KILLED - 1)))
        assert done[name] + losses(again, config, range(KILLED, STEPS)) == expected, name
