"""A process that is killed while it trains with adapters, a guide or a rate that waits: what goes on loses the same."""

import multiprocessing
import signal
from dataclasses import replace
from multiprocessing.connection import Connection
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

STEPS, KILLED = 40, 33
"""Of all steps those after which the process is killed; WSD's rate falls from the 31st on."""


@pytest.fixture(scope="module")
def configs(tmp_path_factory) -> dict[str, Config]:
    folder = tmp_path_factory.mktemp("killed")
    base = model_folder(bare_folder(folder / "bare"), folder / "base", "cls")
    config = tiny()
    config = replace(config, training=replace(config.training, steps=STEPS))
    waiting = replace(config.training, schedule="wsd", warmup=0.1, cooldown=0.25)
    adapted = replace(config.model, base=base, lora_rank=3, lora_alpha=6)
    guided = with_groups(config)
    return {
        "wsd": replace(config, training=waiting),
        "adapters": replace(config, model=adapted),
        "guide": replace(guided, objective=replace(guided.objective, guide=base, guide_margin=0.02)),
    }


def engine_of(config: Config) -> Engine:
    return Engine(build_encoder(config.model, VOCABULARY, 0, LENGTH, config.seed), config, CPU)


def loss_of(engine: Engine, config: Config, step: int) -> float:
    guide = load_guide(config, CPU)
    return train_step(engine, pairs(step, hard=guide is not None), config, guide).loss


def train(configs: dict[str, Config], folder: str, told: Connection) -> None:
    """A checkpoint of each after each step, which is told; the next step waits for no answer."""
    torch.set_num_threads(1)
    engines = {name: engine_of(config) for name, config in configs.items()}
    for step in range(STEPS):
        for name, config in configs.items():
            loss = loss_of(engines[name], config, step)
            engines[name].save(str(Path(folder, name, str(step))))
            told.send((name, loss))


@pytest.mark.processes
def test_what_is_killed_goes_on_to_the_bit(configs, tmp_path):
    torch.set_num_threads(1)
    context = multiprocessing.get_context("spawn")
    reading, writing = context.Pipe(duplex=False)
    process = context.Process(target=train, args=(configs, str(tmp_path), writing))
    process.start()
    done: dict[str, list[float]] = {name: [] for name in configs}
    while len(done["guide"]) < KILLED:
        assert reading.poll(180)
        name, loss = reading.recv()
        done[name].append(loss)
    process.kill()
    process.join(180)
    assert process.exitcode == -signal.SIGKILL
    for name, config in configs.items():
        engine, again = engine_of(config), engine_of(config)
        expected = [loss_of(engine, config, step) for step in range(STEPS)]
        again.load(str(tmp_path / name / str(KILLED - 1)))
        found = [loss_of(again, config, step) for step in range(KILLED, STEPS)]
        assert done[name][:KILLED] + found == expected, name
