"""Workers that are lost as they start, or that lack memory, are started again a bounded number of times."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
import ray
from ray.train import ControllerError, WorkerGroupError
from ray.train.torch import TorchConfig

from gte_ray.errors import OutOfMemory, RunError
from gte_ray.recipes import recipe
from gte_ray.runs.plan import make_stream, plan_run, resolve_tokenizer
from gte_ray.runs.run_folder import open_run
from gte_ray.train import launch, loop
from gte_ray.train.restarts import RestartingState, Restarts
from tests.commands import HANGS


@pytest.fixture
def run(tiny_store, tmp_path):
    config = recipe("tiny", tiny_store)
    config = replace(
        config,
        data=replace(config.data, max_length=16),
        model=replace(config.model, hidden_size=16, layers=1, heads=2, intermediate_size=32, vocab_size=300),
        training=replace(config.training, steps=2, global_batch=8),
        hardware=replace(config.hardware, threads=1),
        run=replace(config.run, output=str(tmp_path / "runs"), max_failures=1),
    )
    run = plan_run(config)
    open_run(run, fresh=False)
    return run


def free_cpus() -> float:
    return ray.available_resources().get("CPU", 0.0)


def wait_until(reached: Callable[[], bool], seconds: float = HANGS) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def fit(run):
    return launch.fit(run.config, make_stream(run, resolve_tokenizer(run)), run.folder, lambda reports: None)


def test_workers_that_are_killed_as_they_start(run, tmp_path, monkeypatch):
    """Of a cluster's four CPUs each start would keep one, so that the fifth waits for ever."""
    starts = tmp_path / "starts"

    class Backend(TorchConfig().backend_cls):
        def on_start(self, worker_group, backend_config):
            with open(starts, "a") as file:
                file.write("x")
            worker_group.execute(lambda: os.kill(os.getpid(), signal.SIGKILL))

    monkeypatch.setattr(TorchConfig, "backend_cls", Backend)
    before = ray.cluster_resources()["CPU"]
    wait_until(lambda: free_cpus() == before)  # what an earlier test had
    with pytest.raises(
        RunError, match=r"training failed: a process ended unexpectedly.* lower --micro-batch-tok"
    ):
        fit(run)
    assert len(starts.read_text()) == 2
    wait_until(lambda: free_cpus() == before)


def test_a_step_that_takes_too_much_memory_is_not_tried_again():
    error = WorkerGroupError(
        "", {0: RuntimeError("connection closed"), 1: OutOfMemory("the memory of the GPU ran out")}
    )
    restarts = Restarts(3)
    with pytest.raises(OutOfMemory, match="the memory of the GPU ran out"):
        restarts.after_controller_state_update(None, RestartingState(training_failed_error=error))
    restarts.after_controller_state_update(
        None, RestartingState(WorkerGroupError("", {0: ValueError("lost")}))
    )


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")]
)
def test_the_workers_loop_names_what_to_lower(monkeypatch, error):
    def set_num_threads(count):
        raise error

    monkeypatch.setattr("torch.set_num_threads", set_num_threads)
    with pytest.raises(
        OutOfMemory, match=r"ran out; lower --micro-batch-tokens, --graph-tokens or --loss-tile"
    ):
        loop.train(recipe("tiny", "store"), None, None, None)


def test_other_errors_of_the_loop_stay_what_they_are(monkeypatch):
    monkeypatch.setattr("torch.set_num_threads", lambda count: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        loop.train(recipe("tiny", "store"), None, None, None)


def test_a_controller_that_runs_out_of_memory_is_bounded_too(run, monkeypatch):
    tries = []

    def fit_raises():
        tries.append(1)
        raise ControllerError(ray.exceptions.OutOfMemoryError("Memory was 22.4GB used / 23.5GB limit\nmore"))

    trainer = SimpleNamespace(fit=fit_raises, train_run_context=SimpleNamespace(run_id="r"))
    monkeypatch.setattr(launch, "TorchTrainer", lambda *arguments, **settings: trainer)
    with pytest.raises(OutOfMemory, match=r"ran low on memory \(22.4 of 23.5 GB in use\); .*started 2 time"):
        fit(run)
    assert len(tries) == 2
