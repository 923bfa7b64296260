"""cluster/slurm/pretrain.sbatch under bash, with stand-ins for srun, scontrol, ray and python."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).parents[2] / "cluster/slurm/pretrain.sbatch"
FLAGS = ("--recipe", "gte-base", "--store", "/shared/a store", "--name", "mine")

# Runs the command once for each node; when one fails, or srun is ended, all are killed.
SRUN = """#!/bin/bash
printf '%s\\n' "$@" >"$RECORDS/srun"
while [[ $1 == --* ]]; do shift; done
end() { kill -KILL $(jobs -p) 2>/dev/null; }
trap end TERM
for ((node = 0; node < SLURM_JOB_NUM_NODES; node++)); do SLURM_NODEID=$node "$@" & done
status=0
for ((node = 0; node < SLURM_JOB_NUM_NODES; node++)); do wait -n || { status=$?; end; }; done
exit $status
"""

SCONTROL = """#!/bin/bash
echo "$@" >>"$RECORDS/scontrol"
"""

# Ray's folders go with the test's.
MKTEMP = """#!/bin/bash
exec /usr/bin/env -i PATH=/usr/bin:/bin mktemp -d "$RECORDS/${2##*/}"
"""

RECORD = f"""#!{sys.executable} -SE
import json, os, signal, socket, sys, time

def record(name):
    text = json.dumps({{"arguments": sys.argv[1:], "environment": dict(os.environ)}})
    with open(f"{{os.environ['RECORDS']}}/{{name}}.new", "w") as file:
        file.write(text)
    os.rename(file.name, file.name.removesuffix(".new"))
"""

# The head listens on its port, as Ray's does.
RAY = (
    RECORD
    + """
if sys.argv[1] != "start":
    record(sys.argv[1])
    sys.exit()
node = os.environ["SLURM_NODEID"]
if "--head" in sys.argv:
    given = dict(zip(sys.argv, sys.argv[1:]))
    server = socket.create_server((given["--node-ip-address"], int(given["--port"])))
record(f"ray-{node}")
if os.environ.get("RAY_ENDS_ON") == node:
    sys.exit(1)
time.sleep(120)
"""
)

PYTHON = (
    RECORD
    + """
if "EXIT_CODE_AT_TERM" in os.environ:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(int(os.environ["EXIT_CODE_AT_TERM"])))
record("python")
if "EXIT_CODE" in os.environ:
    sys.exit(int(os.environ["EXIT_CODE"]))
time.sleep(120)
"""
)


def new_job_id() -> int:
    """The number of a job whose ports nothing uses here."""
    while True:
        job_id = random.randrange(1, 10**6)
        try:
            for port in range(10):
                socket.create_server(("0.0.0.0", 20_000 + job_id % 1200 * 10 + port)).close()
        except OSError:
            continue
        return job_id


class Job:
    """The script, as Slurm runs it on the first node of an allocation of four GPUs a node."""

    def __init__(self, folder: Path, programs: dict[str, str], flags: tuple[str, ...], **environment: str):
        self.folder = folder
        self.id = new_job_id()
        self.address = f"0.0.0.0:{20_000 + self.id % 1200 * 10}"
        self.token_file = folder / f".ray-token-{self.id}"
        self.records = folder / "records"
        self.records.mkdir()
        bin_folder = folder / "bin"
        bin_folder.mkdir()
        for name, text in programs.items():
            (bin_folder / name).write_text(text)
            (bin_folder / name).chmod(0o755)
        self.environment = {
            "PATH": f"{bin_folder}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": os.environ["HOME"],
            "RECORDS": str(self.records),
            "RAY_HEAD_IP": "0.0.0.0",  # reaches this machine, and is not its loopback address
            "RAY_ADDRESS": "another-ray:6379",
            "RAY_AUTH_TOKEN": "another-token",
            "MLFLOW_TRACKING_URI": "http://mlflow:5000",
            "SLURM_JOB_ID": str(self.id),
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_CPUS_ON_NODE": "32",
            "SLURM_GPUS_ON_NODE": "4",
            **environment,
        }
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                ["bash", SCRIPT, *flags],
                cwd=folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def record(self, name: str, seconds: float = 20) -> str:
        """What a stand-in wrote down; waits for it."""
        deadline = time.monotonic() + seconds
        while not (self.records / name).exists():
            late = time.monotonic() > deadline or self.process.poll() is not None
            assert not late or (self.records / name).exists(), f"no {name}; the log says: {self.log}"
            time.sleep(0.05)
        return (self.records / name).read_text()

    def call(self, name: str) -> tuple[list[str], dict[str, str]]:
        """Arguments and environment with which a stand-in was called."""
        recorded = json.loads(self.record(name))
        return recorded["arguments"], recorded["environment"]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = 30) -> int:
        return self.process.wait(seconds)

    def was_queued_again(self) -> bool:
        return (self.records / "scontrol").exists()

    def close(self) -> None:
        """Ends all processes of the job, which are those of its session."""
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(process.pid) == self.process.pid:
                    process.kill()


def options(arguments: list[str]) -> dict[str, str]:
    """Options and their values; the value of a switch is the next option."""
    return dict(zip(arguments, [*arguments[1:], ""], strict=True))


STAND_INS = {"srun": SRUN, "scontrol": SCONTROL, "mktemp": MKTEMP, "ray": RAY, "python": PYTHON}


@pytest.fixture
def submit(tmp_path) -> Iterator:
    jobs: list[Job] = []

    def start(*flags: str, **environment: str) -> Job:
        folder = tmp_path / str(len(jobs))
        folder.mkdir()
        jobs.append(Job(folder, STAND_INS, flags, **environment))
        return jobs[-1]

    yield start
    for job in jobs:
        job.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[Job]:
    """A job of two nodes whose training goes on."""
    job = Job(tmp_path_factory.mktemp("job"), STAND_INS, FLAGS)
    for name in ("ray-0", "ray-1", "python"):
        job.record(name)
    yield job
    job.close()


def test_the_training_gets_all_flags_and_a_worker_for_each_gpu(running):
    arguments, environment = running.call("python")
    assert arguments == ["-m", "gte_ray.pretrain", "--workers", "8", *FLAGS]
    assert environment["RAY_ADDRESS"] == running.address
    assert environment["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"


def test_srun_starts_one_task_on_each_node_with_all_its_cpus_and_gpus(running):
    given = running.record("srun").splitlines()
    assert {"--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=32", "--gpus-per-node=4"} <= set(given)


def test_the_first_node_is_the_head_and_the_others_join_it(running):
    head, worker = (options(running.call(f"ray-{node}")[0]) for node in (0, 1))
    assert "--head" in head and f"{head['--node-ip-address']}:{head['--port']}" == running.address
    assert head["--dashboard-host"] == "127.0.0.1"
    assert "--head" not in worker and worker["--address"] == running.address
    for node in (head, worker):
        assert node["--num-cpus"] == "32" and node["--num-gpus"] == "4"
        assert node["--object-store-memory"] == str(16 * 2**30)


def test_each_ray_has_a_folder_of_its_own_that_is_closed_to_other_users(running):
    folders = [Path(options(running.call(f"ray-{node}")[0])["--temp-dir"]).parent for node in (0, 1)]
    assert folders[0] != folders[1]
    assert all(folder.stat().st_mode & 0o777 == 0o700 for folder in folders)


def test_the_token_reaches_all_nodes_through_a_file_of_the_user_alone(running):
    file = running.token_file
    assert file.stat().st_mode & 0o777 == 0o600
    assert re.fullmatch(r"[0-9a-f]{64}", file.read_text())
    for name in ("ray-0", "ray-1", "python"):
        environment = running.call(name)[1]
        assert environment["RAY_AUTH_MODE"] == "token"
        assert environment["RAY_AUTH_TOKEN_PATH"] == str(file)
        assert "RAY_AUTH_TOKEN" not in environment


def test_the_token_is_on_no_command_line_and_not_in_the_log(running):
    token = running.token_file.read_text()
    processes = psutil.Process(running.process.pid).children(recursive=True)
    assert len(processes) >= 4
    assert all(token not in argument for process in processes for argument in process.cmdline())
    assert token not in running.log


def test_before_the_time_limit_a_checkpoint_is_asked_for_and_the_job_is_queued_again(submit):
    job = submit(*FLAGS, EXIT_CODE_AT_TERM="130", CHECKPOINT_SECONDS="3")
    job.record("python")
    start = time.monotonic()
    job.signal(signal.SIGUSR1)
    arguments, environment = job.call("drain-node")
    assert options(arguments)["--reason"] == "DRAIN_NODE_REASON_PREEMPTION"
    assert environment["RAY_ADDRESS"] == job.address
    assert job.wait() == 130, job.log
    assert time.monotonic() - start >= 3, job.log
    assert job.record("scontrol").split() == ["requeue", str(job.id)]


def test_a_training_that_finishes_meanwhile_is_not_queued_again(submit):
    job = submit(EXIT_CODE_AT_TERM="0", CHECKPOINT_SECONDS="0")
    job.record("python")
    job.signal(signal.SIGUSR1)
    assert job.wait() == 0
    assert not job.was_queued_again()


def test_a_job_that_is_cancelled_ends_the_training_and_is_not_queued_again(submit):
    job = submit(EXIT_CODE_AT_TERM="130")
    job.record("python")
    job.signal(signal.SIGTERM)
    assert job.wait() == 130
    assert not job.was_queued_again()


def test_a_job_that_is_cancelled_while_it_writes_its_last_checkpoint_is_not_queued_again(submit):
    job = submit(EXIT_CODE_AT_TERM="130", CHECKPOINT_SECONDS="100")
    job.record("python")
    job.signal(signal.SIGUSR1)
    job.record("drain-node")
    job.signal(signal.SIGTERM)
    assert job.wait() == 130
    assert not job.was_queued_again()


def test_a_training_that_fails_gives_its_exit_code_and_is_not_queued_again(submit):
    job = submit(EXIT_CODE="7")
    assert job.wait() == 7
    assert not job.was_queued_again()
    assert not job.token_file.exists()


def test_the_training_ends_when_ray_ends_on_a_node(submit):
    job = submit(RAY_ENDS_ON="1")
    assert job.wait() != 0
    assert "Ray has ended on a node" in job.log
    assert not job.was_queued_again()


def test_only_the_first_start_of_a_job_may_start_the_run_over(submit):
    first = submit("--fresh", *FLAGS, EXIT_CODE="0")
    assert "--fresh" in first.call("python")[0] and first.wait() == 0
    second = submit("--fresh", *FLAGS, EXIT_CODE="0", SLURM_RESTART_COUNT="1")
    assert second.call("python")[0][-len(FLAGS) - 1 :] == ["8", *FLAGS] and second.wait() == 0


def test_jobs_on_one_node_use_ports_of_their_own(submit):
    first = submit(EXIT_CODE_AT_TERM="0", SLURM_JOB_NUM_NODES="1")
    second = submit(EXIT_CODE_AT_TERM="0", SLURM_JOB_NUM_NODES="1", SLURM_JOB_ID=str(first.id + 1))
    given = [*options(first.call("ray-0")[0]).items(), *options(second.call("ray-0")[0]).items()]
    ports = [int(value) for name, value in given if name.endswith("port")]
    assert len(set(ports)) == len(ports) == 14
    assert all(20_000 <= port < 32_768 for port in ports)


def test_a_head_that_other_nodes_cannot_reach_is_refused(submit):
    job = submit(RAY_HEAD_IP="127.0.1.1")
    assert job.wait() == 2
    assert "set RAY_HEAD_IP" in job.log


def test_slurm_signals_early_enough_for_a_checkpoint():
    text = SCRIPT.read_text()
    signalled = int(re.findall(r"^#SBATCH --signal=B:USR1@(\d+)$", text, re.MULTILINE)[0])
    assert signalled >= int(re.findall(r"CHECKPOINT_SECONDS:-(\d+)", text)[0]) + 120


# Joins the Ray of the job and looks around; a program without the token must not get in.
PROBE = f"""#!{sys.executable}
import json, os, subprocess, sys
import ray

without_token = {{**os.environ, "RAY_AUTH_MODE": "disabled"}}
code = "import os, ray._raylet as r; r.GcsClient(address=os.environ['RAY_ADDRESS']).get_all_node_info()"
stranger = subprocess.run([sys.executable, "-c", code], env=without_token, capture_output=True, text=True)
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
    job = Job(
        tmp_path,
        {"srun": SRUN, "scontrol": SCONTROL, "python": PROBE},
        (),
        RAY_HEAD_IP="127.0.0.1",
        OBJECT_STORE_GIB="1",
        SLURM_JOB_NUM_NODES="1",
        SLURM_CPUS_ON_NODE="1",
        SLURM_GPUS_ON_NODE="2",
    )
    folder = None
    try:
        seen = json.loads(job.record("probe", seconds=240))
        folder = Path(seen["temp_dir"]).parent
        assert job.wait(60) == 5
        deadline = time.monotonic() + 30
        while processes_of(folder) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not processes_of(folder), "Ray goes on after the job"
    finally:
        job.close()
        if folder is not None:
            shutil.rmtree(folder)
    assert folder.parent == Path("/tmp")
    assert seen["nodes"] == 1 and seen["resources"]["GPU"] == 2 and seen["resources"]["CPU"] == 1
    assert "nauthenticated" in seen["stranger"]


def processes_of(folder: Path) -> list[str]:
    """Command lines that name a folder."""
    lines = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            lines.append(" ".join(process.cmdline()))
    return [line for line in lines if str(folder) in line]
