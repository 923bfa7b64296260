"""Jobs on a real cluster of three nodes, each a raylet, on this machine: submitted, stopped, killed, resized.

The Slurm script's command lines are tried here too, before that cluster is there: Ray gives a node 30 s to start.
"""

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from ray.job_submission import JobStatus, JobSubmissionClient

from gte_ray.runtime import storage
from gte_ray.train.checkpoints import last_checkpoint, next_step
from tests.cluster.chaos import EVERY, KINDS, arguments, disturb, expected
from tests.cluster.nodes import REPOSITORY, Nodes, Training
from tests.cluster.slurm import SCONTROL, SRUN, Job
from tests.commands import HANGS
from tests.servers import Server
from tests.train.reference import Step, assert_same, steps_done

AWAY_SECONDS = 12
"""Longer than Arrow tries by itself, which is about 6 s."""
QUICK = ("-m", "tests.cluster.quick_pretrain")


def submit(
    nodes: Nodes, job: str, runs: str, tracking: str, *flags: str, **environment: str
) -> subprocess.CompletedProcess:
    """`ray job submit --working-dir .` of a pre-training run, without waiting for it."""
    entry = [sys.executable, "-m", "gte_ray.pretrain", "--name", "run", "--output", runs]
    ray = [
        nodes.environment["RAY"],
        "job",
        "submit",
        "--working-dir",
        ".",
        "--no-wait",
        "--submission-id",
        job,
    ]
    there = {"RAY_AUTH_MODE": "token", "RAY_API_SERVER_ADDRESS": nodes.jobs_url}
    return subprocess.run(
        [*ray, "--", *entry, "--tracking-uri", tracking, *flags],
        cwd=REPOSITORY,
        env=nodes.environment | there | environment,
        capture_output=True,
        text=True,
        timeout=HANGS,
    )


def jobs_of(nodes: Nodes) -> JobSubmissionClient:
    """Ray's jobs, asked without the seconds that its commands take to start."""
    token = Path("~/.ray/auth_token").expanduser().read_text().strip()
    return JobSubmissionClient(nodes.jobs_url, headers={"Authorization": f"Bearer {token}"})


def wait_for(condition, seconds: float = HANGS, every: float = 0.3) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(every)


def mlflow_run(uri: str) -> tuple[MlflowClient, Run]:
    """The one run that MLflow has."""
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("gte_ray").experiment_id])
    return client, run


# Joins the Ray of the job and looks around; a program without the token must not get in.
PROBE = f"""#!{sys.executable}
import json, os, subprocess, sys
import ray

without_token = {{**os.environ, "RAY_AUTH_MODE": "disabled"}}
status = ["{Path(sys.executable).with_name("ray")}", "status", "--address", os.environ["RAY_ADDRESS"]]
stranger = subprocess.run(status, env=without_token, capture_output=True, text=True)
ray.init(log_to_driver=False)
seen = {{
    "nodes": len(ray.nodes()),
    "resources": ray.cluster_resources(),
    "temp_dir": ray.get_runtime_context().get_temp_dir(),
    "stranger": stranger.stderr if stranger.returncode else "was let in",
}}
path = f"{{os.environ['RECORDS']}}/probe"
with open(path + ".new", "w") as file:
    json.dump(seen, file)
os.rename(file.name, path)
sys.exit(5)
"""


def test_the_command_lines_start_a_ray_that_only_the_token_opens(tmp_path):
    job, folder = probing_job(tmp_path), None
    try:
        seen = json.loads(job.record("probe"))
        folder = Path(seen["temp_dir"]).parent
        assert job.wait() == 5
        deadline = time.monotonic() + HANGS
        while processes_of(folder) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not processes_of(folder), "Ray goes on after the job"
    finally:
        job.close()
        if folder is not None:
            shutil.rmtree(folder)
    assert folder.parent == Path("/tmp")
    assert seen["nodes"] == 1 and seen["resources"]["GPU"] == 2 and seen["resources"]["CPU"] == 1
    assert "AuthenticationError" in seen["stranger"]


def probing_job(folder: Path, tries: int = 3) -> Job:
    """A job with a real Ray, once it has looked around. Ray gives a node 30 s to start, which a loaded machine exceeds."""
    (folder / str(tries)).mkdir()
    job = Job(
        folder / str(tries),
        {"srun": SRUN, "scontrol": SCONTROL, "python": PROBE},
        (),
        RAY_HEAD_IP="127.0.0.1",
        OBJECT_STORE_GIB="1",
        SLURM_JOB_NUM_NODES="1",
        SLURM_CPUS_ON_NODE="1",
        SLURM_GPUS_ON_NODE="2",
    )
    while job.process.poll() is None and not (job.records / "probe").exists():
        time.sleep(0.1)
    if "The current node timed out during startup" in job.log and tries > 1:
        job.close()
        return probing_job(folder, tries - 1)
    return job


def processes_of(folder: Path) -> list[str]:
    """Command lines that name a folder."""
    lines = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            lines.append(" ".join(process.cmdline()))
    return [line for line in lines if str(folder) in line]


def test_without_the_token_nothing_is_run(nodes, tiny_store, tmp_path):
    runs, flags = str(tmp_path / "runs"), arguments(tiny_store, 10)
    wrong = submit(nodes, "refused", runs, f"sqlite:///{tmp_path}/mlflow.db", *flags, RAY_AUTH_TOKEN="0" * 64)
    assert wrong.returncode != 0
    assert "token" in (wrong.stdout + wrong.stderr).lower()
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{nodes.jobs_url}/api/jobs/", timeout=20)
    assert refused.value.code in (401, 403)
    assert not (tmp_path / "runs").exists()


def workers_on_different_nodes(nodes: Nodes, count: int) -> bool:
    workers = nodes.processes("RayTrainWorker")
    return len(workers) == count == len({nodes.node_of(worker) for worker in workers})


def local_history(run_folder: str) -> Path:
    """Where the driver of a run in a bucket, once it has begun, writes the steps down."""
    record = f"{run_folder}/config.json"
    wait_for(lambda: storage.exists(record), every=1)
    return Path(tempfile.gettempdir(), f"gte_ray-{storage.read_json(record)['key']}", "history.jsonl")


def test_a_job_is_stopped_and_goes_on_though_its_bucket_and_mlflow_go_away(
    nodes, bucket, tiny_store, tmp_path
):
    """Three workers on three nodes, then two on two: the losses of one plain process."""
    storage.upload(tiny_store, "s3://bucket/store")
    server, folder, steps = Server(tmp_path), "s3://bucket/runs/run", 400
    jobs = jobs_of(nodes)

    def start(job: str, workers: str) -> None:
        flags = arguments("s3://bucket/store", steps, workers)
        done = submit(nodes, job, "s3://bucket/runs", server.uri, *flags)
        assert done.returncode == 0, done.stdout + done.stderr
        wait_for(lambda: workers_on_different_nodes(nodes, int(workers)))

    def done() -> list[Step]:
        return steps_done(history)

    server.start()
    try:
        start("first", "3")
        history = local_history(folder)
        wait_for(lambda: len(done()) > 2 * EVERY)
        wait_for(lambda: next_step(folder) > EVERY, every=1)
        jobs.stop_job("first")
        wait_for(lambda: jobs.get_job_status("first").is_terminal())
        assert jobs.get_job_status("first") == JobStatus.STOPPED
        assert mlflow_run(server.uri)[1].info.status == "KILLED"
        before = len(done())
        assert before < steps

        start("second", "2")
        wait_for(lambda: len(done()) > before)
        bucket.stop()
        server.stop()
        gone, during = time.monotonic(), len(done())
        wait_for(lambda: len(done()) > during)
        time.sleep(max(0.0, gone + AWAY_SECONDS - time.monotonic()))
        bucket.start()
        server.start()
        wait_for(lambda: jobs.get_job_status("second").is_terminal())
        said = jobs.get_job_logs("second")
        assert jobs.get_job_status("second") == JobStatus.SUCCEEDED, said
        assert f"step {steps}/{steps}" in said
        found = done()
        assert found[before].number > EVERY, "begun from the start"
        assert [step.number for step in found[before:]] == list(range(found[before].number, steps))
        assert_same(found, expected(folder, tiny_store))
        assert storage.exists(f"{folder}/model/model.safetensors")
        client, run = mlflow_run(server.uri)
        assert run.info.status == "FINISHED"
        written = [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")]
        assert sorted(written) == list(range(steps))
    finally:
        bucket.start()
        server.stop()


def test_a_notice_and_kills_of_every_kind_change_nothing(nodes, tiny_store, tmp_path):
    """In two passes over the data. Three workers, a node that is taken away, as clouds do with spot machines, two, the
    node is back, three; then a worker, the controller and the command are killed."""
    steps = 200
    slow = tmp_path / "slow"
    slow.write_text("2")  # no checkpoint is due before the notice, nor the run over before the last kill
    flags = arguments(tiny_store, steps, "2:3", every=steps // 2)
    training = Training(nodes, tmp_path, flags, program=QUICK)
    third = nodes.identifier(3)
    training.wait(lambda: training.done() > EVERY)
    assert workers_on_different_nodes(nodes, 3)
    notice = nodes.notice(third)
    assert notice.returncode == 0, notice.stdout + notice.stderr
    training.wait(lambda: last_checkpoint(training.folder) is not None)
    saved = last_checkpoint(training.folder).metrics["step"]
    assert saved < steps // 2 - 1
    nodes.lose(3)
    training.wait(lambda: len(nodes.processes("RayTrainWorker")) == 2)
    lost = training.done()
    training.wait(lambda: training.done() > lost)
    nodes.up()
    training.wait(lambda: workers_on_different_nodes(nodes, 3))
    (tmp_path / "faster").write_text("0.3")
    (tmp_path / "faster").replace(slow)
    disturb(training, [kind for kind in KINDS if kind != "node"], steps, seed=1)
    done = steps_done(training.history)
    assert_same(done, expected(training.folder, tiny_store))
    assert [step.number for step in done].count(saved) == 1, "a step before the checkpoint was done again"
    assert len(done) > steps, "no step was done again: nothing was lost"
    assert mlflow_run(f"sqlite:///{tmp_path}/mlflow.db")[1].info.status == "FINISHED"
    kept = list((tmp_path / "runs/run/checkpoints").glob("checkpoint_*/state.json"))
    assert len(kept) == 2  # none beyond those that Ray Train keeps, whatever the kills left
