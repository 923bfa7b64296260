"""cluster/slurm/pretrain.sbatch under bash, with stand-ins for srun, scontrol, ray and python."""

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cluster.slurm import SCRIPT, STAND_INS, Job, options

pytestmark = pytest.mark.processes
FLAGS = ("--recipe", "gte-base", "--store", "/shared/a store", "--name", "mine")


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
