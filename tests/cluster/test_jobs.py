"""Jobs on a real cluster of two nodes, each a raylet, on this machine: submitted, stopped, killed, resized.

The Slurm script's command lines are tried here too, before that cluster is there: Ray gives a node 30 s to start.
"""

import contextlib
import json
import shutil
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from ray.job_submission import JobStatus

from gte_ray.runtime import storage
from gte_ray.train.checkpoints import next_step
from tests.bucket import Bucket
from tests.cluster.chaos import arguments, expected
from tests.cluster.jobs import JobRun, mlflow_run, submit, wait_for
from tests.cluster.slurm import SCONTROL, SRUN, Job
from tests.commands import HANGS
from tests.servers import Server
from tests.train.reference import Step, assert_same

AWAY_SECONDS = 12
"""Longer than Arrow tries by itself, which is about 6 s."""
CHECKPOINT = 40
"""Steps between checkpoints."""


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
    wrong = submit(
        nodes,
        "refused",
        str(tmp_path / "runs"),
        *arguments(tiny_store, 10),
        folder=tmp_path,
        RAY_AUTH_TOKEN="0" * 64,
    )
    assert wrong.returncode != 0
    assert "token" in (wrong.stdout + wrong.stderr).lower()
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{nodes.jobs_url}/api/jobs/", timeout=20)
    assert refused.value.code in (401, 403)
    assert not (tmp_path / "runs").exists()


def test_a_run_comes_to_the_same_whatever_becomes_of_its_cluster(nodes, bucket, tiny_store, tmp_path):
    """One or two workers, in passes over the data. Its bucket and MLflow go away for a while, a node is taken away with
    notice, as clouds do with spot machines, the controller is killed, the node is back, the command is killed, and the
    job is stopped: the losses of one plain process."""
    storage.upload(tiny_store, "s3://bucket/store")
    server, steps = Server(tmp_path), 200
    tracking = ("--tracking-uri", server.uri)
    flags = [*arguments("s3://bucket/store", steps, every=CHECKPOINT), *tracking]
    run, second_node = JobRun(nodes, "s3://bucket/runs", tmp_path, flags), nodes.identifier(2)
    run.slow_down(1)  # so that it is not over before all has happened
    server.start()
    try:
        run.start("first", "1:2", on_nodes=2)
        wait_for(lambda: len(run.done()) > CHECKPOINT // 2)
        without_bucket_and_mlflow(run, bucket, server)
        saved = lose_a_node_with_notice(run, second_node)
        run.kill("TrainController")
        run.further()
        nodes.up()
        wait_for(lambda: run.spread_over(2))
        run.further()
        run.kill("tests.cluster.quick_pretrain")
        assert run.ended("first") == JobStatus.FAILED
        run.start("second", "1", on_nodes=1)
        run.further()
        run.jobs.stop_job("second")
        assert run.ended("second") == JobStatus.STOPPED
        assert mlflow_run(server.uri)[1].info.status == "KILLED"
        before = len(run.done())
        run.start("third", "1", on_nodes=1)
        run.slow_down(0)
        check_the_end(run, "third", before, saved, expected(run.folder, tiny_store))
        client, tracked = mlflow_run(server.uri)
        assert tracked.info.status == "FINISHED"
        written = [metric.step for metric in client.get_metric_history(tracked.info.run_id, "loss")]
        assert sorted(written) == list(range(steps))
    finally:
        bucket.start()
        server.stop()


def without_bucket_and_mlflow(run: JobRun, bucket: Bucket, server: Server) -> None:
    """Takes both away while a checkpoint is due, which is written when they are back."""
    bucket.stop()
    server.stop()
    gone = time.monotonic()
    wait_for(lambda: len(run.done()) > CHECKPOINT)
    time.sleep(max(0.0, gone + AWAY_SECONDS - time.monotonic()))
    run.slow_down(3)  # the next checkpoint is not to be due before the notice
    bucket.start()
    server.start()
    wait_for(lambda: next_step(run.folder) >= CHECKPOINT, every=1)


def lose_a_node_with_notice(run: JobRun, node: str) -> int:
    """Returns the step of the checkpoint that was made for it, before one was due; one worker goes on."""
    notice = run.nodes.notice(node)
    assert notice.returncode == 0, notice.stdout + notice.stderr
    wait_for(lambda: next_step(run.folder) > CHECKPOINT, every=1)
    saved = next_step(run.folder) - 1
    assert saved < 2 * CHECKPOINT - 1
    run.nodes.lose(2)
    wait_for(lambda: len(run.nodes.processes("RayTrainWorker")) == 1)
    run.further()
    return saved


def check_the_end(run: JobRun, job: str, before: int, saved: int, wanted: list[Step]) -> None:
    """`before` is the number of steps that earlier jobs did, `saved` the step of a checkpoint that was gone on from."""
    status, said = run.ended(job), run.jobs.get_job_logs(job)
    assert status == JobStatus.SUCCEEDED, said
    assert f"step {len(wanted)}/{len(wanted)}" in said
    found = run.done()
    assert_same(found, wanted)
    assert found[before].number >= saved, "not from the last checkpoint"
    assert [step.number for step in found[before:]] == list(range(found[before].number, len(wanted)))
    assert [step.number for step in found].count(saved) == 1, "a step before the checkpoint was done again"
    assert len(found) > len(wanted), "no step was done again: nothing was lost"
    assert storage.exists(f"{run.folder}/model/model.safetensors")
    kept = [name for name in storage.files(f"{run.folder}/checkpoints") if name.endswith("state.json")]
    assert len(kept) == 2  # none beyond those that Ray Train keeps, whatever the kills left
