"""Jobs on a real cluster of three nodes, each a raylet, on this machine: submitted, stopped, killed, resized."""

import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from gte_ray.train.checkpoints import last_checkpoint
from tests.cluster.chaos import EVERY, KINDS, arguments, disturb, expected
from tests.cluster.nodes import REPOSITORY, Nodes, Training
from tests.train.reference import assert_same, steps_done

RAY = str(Path(sys.executable).with_name("ray"))


def ray(nodes: Nodes, *command: str, **environment: str) -> subprocess.CompletedProcess:
    """A `ray` command for the cluster's jobs."""
    there = {"RAY_AUTH_MODE": "token", "RAY_API_SERVER_ADDRESS": nodes.jobs_url}
    return subprocess.run(
        [RAY, *command],
        cwd=REPOSITORY,
        env=nodes.environment | there | environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


def submit(
    nodes: Nodes, output: Path, job: str, *flags: str, **environment: str
) -> subprocess.CompletedProcess:
    """`ray job submit --working-dir .` of a pre-training run, without waiting for it."""
    entry = [sys.executable, "-m", "gte_ray.pretrain", "--name", "run", "--output", str(output / "runs")]
    track = ["--tracking-uri", f"sqlite:///{output}/mlflow.db"]
    command = ["job", "submit", "--working-dir", ".", "--no-wait", "--submission-id", job, "--"]
    command += [*entry, *track, *flags]
    return ray(nodes, *command, **environment)


def wait_for(condition, seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def mlflow_status(output: Path) -> str:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{output}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("gte_ray").experiment_id])
    return run.info.status


def test_without_the_token_nothing_is_run(nodes, tiny_store, tmp_path):
    wrong = submit(nodes, tmp_path, "refused", *arguments(tiny_store, 10), RAY_AUTH_TOKEN="0" * 64)
    assert wrong.returncode != 0
    assert "token" in (wrong.stdout + wrong.stderr).lower()
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{nodes.jobs_url}/api/jobs/", timeout=20)
    assert refused.value.code in (401, 403)
    assert not (tmp_path / "runs").exists()


def workers_on_different_nodes(nodes: Nodes, count: int) -> bool:
    workers = nodes.processes("RayTrainWorker")
    return len(workers) == count == len({nodes.node_of(worker) for worker in workers})


def test_a_job_is_stopped_and_goes_on_with_fewer_workers(nodes, tiny_store, tmp_path):
    """Three workers on three nodes, then two on two: the losses of one plain process."""
    history, job = tmp_path / "runs/run/history.jsonl", f"{tmp_path.parent.name}-{tmp_path.name}"
    done = submit(nodes, tmp_path, f"{job}-1", *arguments(tiny_store, 200, "3"))
    assert done.returncode == 0, done.stdout + done.stderr
    wait_for(lambda: workers_on_different_nodes(nodes, 3))
    wait_for(lambda: len(steps_done(history)) > 2 * EVERY)
    ray(nodes, "job", "stop", f"{job}-1")
    assert mlflow_status(tmp_path) == "KILLED"
    before = len(steps_done(history))
    assert before < 200
    submit(nodes, tmp_path, f"{job}-2", *arguments(tiny_store, 200, "2"))
    wait_for(lambda: workers_on_different_nodes(nodes, 2))
    assert "step 200/200" in ray(nodes, "job", "logs", f"{job}-2", "--follow").stdout
    assert "succeeded" in ray(nodes, "job", "status", f"{job}-2").stdout
    assert steps_done(history)[before].number > EVERY  # not from the start
    assert mlflow_status(tmp_path) == "FINISHED"
    assert_same(steps_done(history), expected(str(tmp_path / "runs/run")))


def test_kills_of_every_kind_change_nothing(nodes, tiny_store, tmp_path):
    kinds = random.Random(1).sample(KINDS, len(KINDS))
    training = Training(nodes, tmp_path, arguments(tiny_store, 400))
    disturb(training, kinds, 400, seed=1)
    done = steps_done(training.history)
    assert len(done) > 400, "no step was done again: nothing was lost"
    assert_same(done, expected(training.folder))
    assert mlflow_status(tmp_path) == "FINISHED"
    kept = list((tmp_path / "runs/run/checkpoints").glob("checkpoint_*/state.json"))
    assert len(kept) == 2  # none beyond those that Ray Train keeps, whatever the kills left


# As `python -m gte_ray.pretrain`, but it does not look for room that seldom.
QUICK = """
import runpy
import gte_ray.train.launch as launch
launch.START_SECONDS, launch.RESIZE_SECONDS = 8, 1.0
runpy.run_module("gte_ray.pretrain", run_name="__main__")
"""


def test_workers_go_with_a_notice_and_come_back(nodes, tiny_store, tmp_path):
    """Three, a node that is taken away, two, the node is back, three; as clouds do with spot machines."""
    steps = 1_000
    flags = arguments(tiny_store, steps, "2:3", every=steps)
    training = Training(nodes, tmp_path, flags, program=("-c", QUICK))
    training.wait(lambda: training.done() > EVERY)
    assert workers_on_different_nodes(nodes, 3)
    notice = nodes.notice(3)
    assert notice.returncode == 0, notice.stdout + notice.stderr
    training.wait(lambda: last_checkpoint(training.folder) is not None)
    saved = last_checkpoint(training.folder).metrics["step"]
    assert saved < steps - 1
    nodes.lose(3)
    training.wait(lambda: len(nodes.processes("RayTrainWorker")) == 2)
    lost = training.done()
    training.wait(lambda: training.done() > lost + EVERY)
    nodes.up()
    training.wait(lambda: workers_on_different_nodes(nodes, 3))
    training.finish()
    done = steps_done(training.history)
    assert_same(done, expected(training.folder))
    assert [step.number for step in done].count(saved) == 1, "a step before the checkpoint was done again"
