"""Ray's workers are forks where that makes no difference, and processes of their own elsewhere."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.commands import HANGS
from tests.fork_server import EXECUTABLE

pytestmark = pytest.mark.usefixtures("ray_local")  # with which the server is there


@pytest.fixture(autouse=True)
def forks_are_possible():
    if os.environ[EXECUTABLE] == sys.executable:
        pytest.skip("this system has no pidfd_open, so that workers are processes of their own")


TELL = """
import json, os, sys
parent = open(f"/proc/{os.getppid()}/cmdline").read()
told = {"forked": "fork_server/server.py" in parent, "arguments": sys.argv[1:], "folder": os.getcwd()}
told |= {"python": sys.executable, "group": os.getpgid(0) == os.getpid(), "path": sys.path, "name": __name__}
print(json.dumps(told | {"environment": dict(os.environ)}))
sys.exit(7)
"""


def worker(folder: Path, content: str) -> list[str]:
    """A program that is called as Ray's workers are."""
    folder.mkdir()
    (folder / "default_worker.py").write_text(content)
    return [os.environ[EXECUTABLE], str(folder / "default_worker.py"), "--a=b c", "é"]


def told(command: list[str], folder: Path, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=os.environ | environment, timeout=HANGS
    )
    assert done.returncode == 7, done.stderr
    return json.loads(done.stdout)


def test_workers_of_ray_are_forks():
    @ray.remote
    def parent() -> str:
        return Path(f"/proc/{os.getppid()}/cmdline").read_text()

    assert "fork_server/server.py" in ray.get(parent.remote())


def test_a_fork_has_all_that_a_process_has(tmp_path):
    found = told(worker(tmp_path / "bin", TELL), tmp_path, GIVEN="x=y\nz", PYTHONPATH="/one:/two")
    assert found["forked"]
    assert found["arguments"] == ["--a=b c", "é"]
    assert found["folder"] == str(tmp_path)
    assert found["name"] == "__main__"
    assert found["group"]
    assert found["path"][:3] == [str(tmp_path / "bin"), "/one", "/two"]
    assert found["environment"]["GIVEN"] == "x=y\nz"
    own = told(worker(tmp_path / "own", TELL), tmp_path, PYTHONPATH="/one:/two", HF_HOME="elsewhere")
    assert not own["forked"]
    assert own["path"][1:] == found["path"][1:]
    assert set(found["environment"]) - {"GIVEN"} == set(own["environment"]) - {"HF_HOME"}


def test_who_kills_what_stands_in_kills_the_fork(tmp_path):
    script = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(900)\n"
    stand_in = subprocess.Popen(worker(tmp_path / "bin", script), stdout=subprocess.PIPE, text=True)
    assert stand_in.stdout is not None
    pid = int(stand_in.stdout.readline())
    assert pid != stand_in.pid
    stand_in.send_signal(signal.SIGKILL)
    stand_in.wait(HANGS)
    end = time.monotonic() + HANGS
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_client_that_ends_too_early_is_no_matter(tmp_path):
    address = str(Path(os.environ[EXECUTABLE]).with_name("socket"))
    for sent in (b"", b"\0\0\0\0\0\0\0\7", b"\0\0\0\0\0\0\0\7abc"):
        client = socket.socket(socket.AF_UNIX)
        client.connect(address)
        if sent:
            socket.send_fds(client, [sent], [0, 1, 2])
        client.close()
    assert told(worker(tmp_path / "bin", TELL), tmp_path)["forked"]
