"""A pre-training run by jobs of a cluster, one after another, each of which goes on with it."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from ray.job_submission import JobStatus, JobSubmissionClient

from tests.cluster.nodes import REPOSITORY, Nodes
from tests.commands import HANGS
from tests.train.reference import Step, steps_done


def submit(
    nodes: Nodes, job: str, output: str, *flags: str, folder: Path, **environment: str
) -> subprocess.CompletedProcess:
    """`ray job submit --working-dir .` of a run, without waiting for it; see `quick_pretrain`, whose TMPDIR is `folder`."""
    program = ["env", f"TMPDIR={folder}", sys.executable, "-m", "tests.cluster.quick_pretrain"]
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
        [*ray, "--", *program, "--name", "run", "--output", output, *flags],
        cwd=REPOSITORY,
        env=nodes.environment | there | environment,
        capture_output=True,
        text=True,
        timeout=HANGS,
    )


def wait_for(condition: Callable[[], object], every: float = 0.3) -> None:
    deadline = time.monotonic() + HANGS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(every)


def mlflow_run(uri: str) -> tuple[MlflowClient, Run]:
    """The one run that MLflow has."""
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("gte_ray").experiment_id])
    return client, run


class JobRun:
    """The run, in a bucket."""

    def __init__(self, nodes: Nodes, output: str, folder: Path, flags: list[str]):
        self.nodes, self.output, self.local, self.flags = nodes, output, folder, flags
        self.folder = f"{output}/run"
        token = Path("~/.ray/auth_token").expanduser().read_text().strip()
        # Asked without the seconds that Ray's commands take to start.
        self.jobs = JobSubmissionClient(nodes.jobs_url, headers={"Authorization": f"Bearer {token}"})

    def start(self, job: str, workers: str, on_nodes: int) -> None:
        """Returns when there are so many workers, each on a node of its own."""
        done = submit(self.nodes, job, self.output, *self.flags, "--workers", workers, folder=self.local)
        assert done.returncode == 0, done.stdout + done.stderr
        wait_for(lambda: self.spread_over(on_nodes) or self.status(job).is_terminal())
        assert not self.status(job).is_terminal(), self.jobs.get_job_logs(job)

    def spread_over(self, count: int) -> bool:
        workers = self.nodes.processes("RayTrainWorker")
        return len(workers) == count == len({self.nodes.node_of(worker) for worker in workers})

    def status(self, job: str) -> JobStatus:
        return self.jobs.get_job_status(job)

    def ended(self, job: str) -> JobStatus:
        wait_for(lambda: self.status(job).is_terminal())
        return self.status(job)

    def done(self) -> list[Step]:
        """The steps that were written down; the command of a run in a bucket does that where it runs."""
        return [step for file in self.local.glob("gte_ray-*/history.jsonl") for step in steps_done(file)]

    def further(self, steps: int = 1) -> None:
        """Returns when so many more steps were done, again or not."""
        before = len(self.done())
        wait_for(lambda: len(self.done()) >= before + steps)

    def slow_down(self, seconds: float) -> None:
        """Has steps take so long from now on, but for the first; see `quick_pretrain`."""
        new = self.local / "new"
        new.write_text(str(seconds))
        new.replace(self.local / "slow")

    def kill(self, title: str) -> None:
        """Kills the processes of the cluster whose command lines have `title` in them."""
        found = self.nodes.processes(title)
        assert found
        for process in found:
            process.kill()
