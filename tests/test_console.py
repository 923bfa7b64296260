"""What a person reads where a command cannot go on, and its exit code."""

import errno
import io
import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from rich.console import Console

from gte_ray import capacity
from gte_ray.capacity import check_capacity
from gte_ray.console import run_command, start_ray
from gte_ray.errors import RunError
from gte_ray.progress import TrainingProgress
from gte_ray.recipes import tiny
from tests.test_history import report


@pytest.mark.parametrize(
    ("raised", "sentence"),
    [
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/etc/hostname/x"), "/etc/hostname/x: Not a directory"),
        (OSError(errno.ENOSPC, "No space left", "/full/x"), "no space is left on the device (/full/x)"),
        (OSError("When getting information for key 'x': no answer\nand more"), "When getting information for key 'x'"),
        (ConnectionError(), "ConnectionError"),
    ],
)  # fmt: skip
def test_a_place_that_does_not_do_what_it_should_is_told_in_a_sentence(capsys, raised, sentence):
    def main() -> None:
        raise raised

    with pytest.raises(SystemExit) as stop:
        run_command(main)
    err = capsys.readouterr().err
    assert stop.value.code == 1
    assert err.startswith(f"error: {sentence}") and err.count("\n") == 1


def test_a_bug_is_a_sentence_and_its_traceback_is_kept(capsys):
    def main() -> None:
        raise ValueError("a bug\nof two lines")

    with pytest.raises(SystemExit) as stop:
        run_command(main)
    err = capsys.readouterr().err
    assert stop.value.code == 1
    assert err.count("\n") == 1
    kept = re.fullmatch(r"error: ValueError: a bug \(an internal error; its traceback is in (.*)\)\n", err)
    assert 'raise ValueError("a bug' in Path(kept[1]).read_text()


def test_ctrl_c_is_no_error(capsys):
    def main() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        run_command(main)
    assert stop.value.code == 130
    assert capsys.readouterr().err == "interrupted; the same command goes on from the last checkpoint\n"


@pytest.fixture
def no_ray(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ENABLE_AUTO_CONNECT", "0")


def test_a_cluster_that_is_gone_is_told_at_once(no_ray, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    with pytest.raises(
        RunError, match=rf"nothing answers at 127.0.0.1:{port} \(RAY_ADDRESS\): Connection ref"
    ):
        start_ray(1, verbose=True)


def test_a_cluster_that_does_not_let_the_command_in(no_ray, monkeypatch):
    def refuse(**options: object) -> None:
        raise ConnectionError("Failed to connect to Ray cluster")

    monkeypatch.setattr(ray, "init", refuse)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(
            RunError, match=r"cannot be joined; where it asks for a token, RAY_AUTH_MODE=token"
        ):
            start_ray(1, verbose=True)


@pytest.mark.parametrize(
    ("cpus", "workers", "worker_cpus", "warned"),
    [((2, 2), "1:4", 1, True), ((2, 2), "1:4", 2, True), ((2, 3), "1:4", 2, False), ((2, 2), "1", 1, False)],
)
def test_an_elastic_run_that_may_leave_no_cpu_to_read_with(monkeypatch, cpus, workers, worker_cpus, warned):
    nodes = [{"Alive": True, "Resources": {"CPU": float(n)}} for n in cpus]
    monkeypatch.setattr(capacity.ray, "nodes", lambda: [*nodes, {"Alive": False, "Resources": {"CPU": 9.0}}])
    monkeypatch.setattr(capacity.ray, "cluster_resources", lambda: {"CPU": float(sum(cpus))})
    config = tiny("store")
    config = replace(config, hardware=replace(config.hardware, workers=workers, worker_cpus=worker_cpus))
    said: list[str] = []
    check_capacity(config, said.append)
    assert [f"--worker-cpus (now {worker_cpus})" in text for text in said] == [True] * warned


def test_a_restart_is_told():
    console = Console(file=io.StringIO(), width=200)
    with TrainingProgress(console, 10, 0) as progress:
        progress.show([report(0), report(1), report(2)])
        progress.show([report(3), report(2), report(3)])
        progress.show([report(4)])
    lines = console.file.getvalue().splitlines()
    told = [line for line in lines if "started again" in line]
    assert told == [
        "step 4 is the last that was done; workers were started again and go on from the last checkpoint, "
        "with step 3"
    ]
