"""A run that is killed at any moment ends with the losses of one that was not. Real Ray, real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from gte_ray.config import Config
from gte_ray.data.read import read_batch
from gte_ray.data.store import open_store
from gte_ray.model.encoder import build_encoder
from gte_ray.recipes import recipe
from gte_ray.run import make_stream, plan_run, resolve_tokenizer
from gte_ray.train.engine import Engine
from gte_ray.train.step import train_step

STEPS, EVERY = 200, 20


def tiny_run(store: str, output: Path, workers: int = 1) -> Config:
    """A model of a few thousand weights on the test store, checkpointed every twenty steps."""
    config = recipe("tiny", store)
    return replace(
        config,
        data=replace(config.data, max_length=16),
        model=replace(config.model, hidden_size=16, layers=1, heads=2, intermediate_size=32, dropout=0.0),
        training=replace(config.training, steps=STEPS, global_batch=12, learning_rate=1e-3),
        hardware=replace(
            config.hardware,
            workers=workers,
            threads=1,
            worker_cpus=0.5,
            micro_batch_tokens=64,
            graph_tokens=64,
        ),
        run=replace(
            config.run,
            output=str(output),
            name="run",
            checkpoint_every=EVERY,
            tracking_uri=f"sqlite:///{output}/mlflow.db",
        ),
    )


DRIVER = """
import json, sys
from gte_ray.config import from_dict
from gte_ray.console import start_ray
from gte_ray.run import make_stream, plan_run, resolve_tokenizer
from gte_ray.train.launch import fit
config, record = from_dict(json.loads(sys.argv[1])), sys.argv[2]
start_ray(3, False)
run = plan_run(config)
def on_reports(reports):
    with open(record, "a") as file:
        for report in reports:
            file.write(json.dumps([report.step, report.source, report.metrics.loss]) + "\\n")
print(fit(run.config, make_stream(run, resolve_tokenizer(run)), run.folder, on_reports))
"""


class Training:
    """A driver in a process of its own, whose reports come by a file."""

    def __init__(self, config: Config, record: Path):
        self.record = record
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, json.dumps(config.to_dict()), str(record)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def wait_for_step(self, step: int, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            if any(seen >= step for seen, _, _ in reports(self.record)):
                return
            time.sleep(0.05)
        pytest.fail(f"step {step} was not reached: {self.process.communicate()[0]}")

    def finish(self) -> str:
        output, _ = self.process.communicate(timeout=200)
        assert self.process.returncode == 0, output
        return output


def reports(record: Path) -> list[tuple[int, str, float]]:
    if not record.exists():
        return []
    return [tuple(json.loads(line)) for line in record.read_text().splitlines() if line.endswith("]")]


def losses(record: Path) -> dict[int, tuple[str, float]]:
    """Source and loss of each step; a step that was done twice must have come out the same."""
    found: dict[int, tuple[str, float]] = {}
    for step, source, loss in reports(record):
        if step in found:
            assert found[step][0] == source
            assert found[step][1] == pytest.approx(loss, abs=1e-4)
        found[step] = (source, loss)
    return found


@pytest.fixture(scope="module")
def uninterrupted(tiny_store, tmp_path_factory) -> dict[int, tuple[str, float]]:
    """The same run step by step in this process, without Ray."""
    run = plan_run(tiny_run(tiny_store, tmp_path_factory.mktemp("whole")))
    stream, store = make_stream(run, resolve_tokenizer(run)), open_store(tiny_store)
    tokenizer, config = stream.tokenizer, run.config
    encoder = build_encoder(
        config.model, tokenizer.vocab_size, tokenizer.pad_id, config.data.max_length, config.seed
    )
    engine = Engine(encoder, config, torch.device("cpu"))
    batches = [read_batch(stream, store, run.plan[step]) for step in range(STEPS)]
    found = {batch.step: (batch.source, train_step(engine, batch, config).loss) for batch in batches}
    assert found[STEPS - 1][1] < found[0][1]  # it learns, so equal losses mean equal weights
    return found


def assert_same(record: Path, expected: dict[int, tuple[str, float]]) -> None:
    found = losses(record)
    assert sorted(found) == sorted(expected)
    for step, (source, loss) in expected.items():
        assert found[step][0] == source
        assert found[step][1] == pytest.approx(loss, abs=1e-4)


def test_a_killed_worker_then_a_killed_driver_then_fewer_workers(tiny_store, tmp_path, uninterrupted):
    record = tmp_path / "reports"
    first = Training(tiny_run(tiny_store, tmp_path, workers=2), record)
    first.wait_for_step(EVERY)
    workers = [
        child
        for child in psutil.Process(first.process.pid).children(recursive=True)
        if "RayTrainWorker" in " ".join(child.cmdline())
    ]
    assert len(workers) == 2
    killed_at = reports(record)[-1][0]
    workers[0].kill()

    first.wait_for_step(killed_at + 2 * EVERY)
    first.process.send_signal(signal.SIGKILL)
    first.process.communicate()
    before = len(reports(record))
    Training(tiny_run(tiny_store, tmp_path, workers=1), record).finish()
    resumed_at = reports(record)[before][0]
    assert killed_at < resumed_at < STEPS
    assert resumed_at % EVERY == 0
    assert_same(record, uninterrupted)
    kept = list((tmp_path / "run/checkpoints").glob("checkpoint_*/state.json"))
    assert len(kept) == 2  # none beyond those that Ray Train keeps, whatever the kills left
