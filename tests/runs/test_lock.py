"""A run is one command's at a time."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gte_ray.errors import RunError
from gte_ray.runs import lock
from gte_ray.runs.lock import locked
from gte_ray.runtime.cluster import Interruption


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.2)


@pytest.fixture
def ended() -> int:
    """The number of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def run(tmp_path) -> str:
    return str(tmp_path / "run")


def leave(run: str, host: str, pid: int) -> None:
    Path(f"{run}.lock").write_text(json.dumps({"host": host, "pid": pid, "beats": 3}))


def test_a_run_that_is_trained_is_not_begun_by_another_command(run, tmp_path):
    said, whose = [], f"process {os.getpid()} on {socket.gethostname()}"
    with locked(run, Interruption(), said.append):
        assert said == []
        with (
            pytest.raises(RunError, match=f"{run}: another command trains this run \\({whose}\\)"),
            locked(run, Interruption(), said.append),
        ):
            pass
        assert said == [f"{whose} has begun this run; looking whether it still trains it"]
    with locked(run, Interruption(), said.append):
        assert len(said) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_was_killed_here_is_not_waited_for(run, ended):
    leave(run, socket.gethostname(), ended)
    said = []
    with locked(run, Interruption(), said.append):
        pass
    assert said == []


def test_a_machine_that_was_lost_is_not_waited_for_long(run):
    leave(run, "elsewhere", os.getpid())
    said = []
    with locked(run, Interruption(), said.append):
        assert json.loads(Path(f"{run}.lock").read_text())["host"] == socket.gethostname()
    assert len(said) == 1


def test_an_interrupt_gives_the_run_back(run, tmp_path):
    interruption = Interruption()
    with locked(run, interruption, print):
        interruption.interrupt()
        assert list(tmp_path.iterdir()) == []
