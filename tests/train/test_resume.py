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

from gte_ray.config import Config
from gte_ray.recipes import recipe
from tests.train.reference import Step, assert_same, reference, steps_done

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
            line = [report.step, report.source, report.metrics.loss, report.metrics.digest]
            file.write(json.dumps(line) + "\\n")
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
            if any(done.number >= step for done in steps_done(self.record)):
                return
            time.sleep(0.05)
        pytest.fail(f"step {step} was not reached: {self.process.communicate()[0]}")

    def finish(self) -> str:
        output, _ = self.process.communicate(timeout=200)
        assert self.process.returncode == 0, output
        return output


@pytest.fixture(scope="module")
def uninterrupted(tiny_store, tmp_path_factory) -> list[Step]:
    return reference(tiny_run(tiny_store, tmp_path_factory.mktemp("whole")))


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
    killed_at = steps_done(record)[-1].number
    workers[0].kill()

    first.wait_for_step(killed_at + 2 * EVERY)
    first.process.send_signal(signal.SIGKILL)
    first.process.communicate()
    before = len(steps_done(record))
    Training(tiny_run(tiny_store, tmp_path, workers=1), record).finish()
    resumed_at = steps_done(record)[before].number
    assert killed_at < resumed_at < STEPS
    assert resumed_at % EVERY == 0
    assert_same(steps_done(record), uninterrupted)
    kept = list((tmp_path / "run/checkpoints").glob("checkpoint_*/state.json"))
    assert len(kept) == 2  # none beyond those that Ray Train keeps, whatever the kills left
