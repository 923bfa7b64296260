"""Jobs on a real cluster of three nodes, each a raylet, on this machine: submitted, stopped, killed, resized."""

import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cluster.chaos import CPUS, EVERY, KINDS, arguments, disturb, expected
from tests.cluster.nodes import REPOSITORY, Nodes, Training
from tests.train.reference import assert_same, steps_done

RAY = str(Path(sys.executable).with_name("ray"))


@pytest.fixture(scope="module")
def nodes():
    with Nodes(3, CPUS) as found:
        yield found


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


def submit(nodes: Nodes, output: Path, *flags: str, **environment: str) -> subprocess.CompletedProcess:
    """`ray job submit --working-dir .` of a pre-training run, without waiting for it."""
    entry = [sys.executable, "-m", "gte_ray.pretrain", "--name", "run", "--output", str(output / "runs")]
    track = ["--tracking-uri", f"sqlite:///{output}/mlflow.db"]
    name = ["--submission-id", f"{output.parent.name}-{output.name}"]
    command = ["job", "submit", "--working-dir", ".", "--no-wait", *name, "--", *entry, *track, *flags]
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
    wrong = submit(nodes, tmp_path, *arguments(tiny_store, 10), RAY_AUTH_TOKEN="0" * 64)
    assert wrong.returncode != 0
    assert "token" in (wrong.stdout + wrong.stderr).lower()
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{nodes.jobs_url}/api/jobs/", timeout=20)
    assert refused.value.code in (401, 403)
    assert not (tmp_path / "runs").exists()


def workers_on_different_nodes(nodes: Nodes, count: int) -> bool:
    workers = nodes.processes("RayTrainWorker")
    return len(workers) == count == len({nodes.node_of(worker) for worker in workers})


def test_a_job_trains_on_three_nodes_as_on_one(nodes, tiny_store, tmp_path):
    done = submit(nodes, tmp_path, *arguments(tiny_store, 60, "3"))
    assert done.returncode == 0, done.stdout + done.stderr
    wait_for(lambda: workers_on_different_nodes(nodes, 3))
    job = f"{tmp_path.parent.name}-{tmp_path.name}"
    assert "step 60/60" in ray(nodes, "job", "logs", job, "--follow").stdout
    assert "succeeded" in ray(nodes, "job", "status", job).stdout
    assert_same(steps_done(tmp_path / "runs/run/history.jsonl"), expected(SimpleNamespace(output=tmp_path)))


def test_a_stopped_job_is_marked_and_goes_on(nodes, tiny_store, tmp_path):
    flags = arguments(tiny_store, 400)
    submit(nodes, tmp_path, *flags)
    wait_for(lambda: workers_on_different_nodes(nodes, 2))
    history = tmp_path / "runs/run/history.jsonl"
    wait_for(lambda: len(steps_done(history)) > 2 * EVERY)
    ray(nodes, "job", "stop", f"{tmp_path.parent.name}-{tmp_path.name}")
    assert mlflow_status(tmp_path) == "KILLED"
    before = len(steps_done(history))
    assert before < 400
    training = Training(nodes, tmp_path, flags)
    training.finish()
    assert steps_done(history)[before].number > EVERY  # not from the start
    assert mlflow_status(tmp_path) == "FINISHED"
    assert_same(steps_done(history), expected(training))


def test_kills_of_every_kind_change_nothing(nodes, tiny_store, tmp_path):
    kinds = random.Random(1).sample(KINDS, len(KINDS))
    training = Training(nodes, tmp_path, arguments(tiny_store, 400))
    disturb(training, kinds, 400, seed=1)
    done = steps_done(training.history)
    assert len(done) > 400, "no step was done again: nothing was lost"
    assert_same(done, expected(training))
    assert mlflow_status(tmp_path) == "FINISHED"
