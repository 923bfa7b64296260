"""A Ray cluster of several nodes on this machine, as `cluster/local` makes it, and runs on it that are disturbed."""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests import fork_server
from tests.commands import HANGS

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = REPOSITORY / "cluster/local"


class Nodes:
    """The cluster, through its scripts; ends with the `with` block, and touches no other Ray."""

    def __init__(self, count: int, cpus: int):
        self.count, self.cpus = count, cpus
        # Short: the paths of Ray's sockets have at most 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="gr", dir="/tmp"))
        self.port = _free_ports(50)
        self.environment = {
            **{k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")},
            "GTE_RAY_LOCAL": str(self.folder),
            "GTE_RAY_LOCAL_PORT": str(self.port),
            "RAY": str(Path(sys.executable).with_name("ray")),
            "OMP_NUM_THREADS": "1",
            # A node that is lost refuses connections at once; one that is slow has the time that it needs.
            "RAY_health_check_period_ms": "500",
        }

    @property
    def inside(self) -> dict[str, str]:
        """Environment of commands that run on the cluster."""
        address = {"RAY_AUTH_MODE": "token", "RAY_ADDRESS": f"127.0.1.1:{self.port}", "COLUMNS": "160"}
        return self.environment | address

    @property
    def jobs_url(self) -> str:
        return f"http://127.0.0.1:{self.port + 1}"

    def __enter__(self) -> "Nodes":
        self.up()
        return self

    def __exit__(self, *exception: object) -> None:
        self.script("down")
        shutil.rmtree(self.folder, ignore_errors=True)

    def up(self) -> None:
        """Starts the nodes that do not run."""
        done = self.script("up", str(self.count), str(self.cpus))
        assert done.returncode == 0, done.stdout

    def lose(self, number: int) -> None:
        done = self.script("lose", str(number))
        assert done.returncode == 0, done.stdout

    def identifier(self, number: int) -> str:
        """Ray's id of a node that runs."""
        listed = subprocess.run(
            [self.environment["RAY"], "list", "nodes", "--format", "json"],
            env=self.inside, capture_output=True, text=True, timeout=HANGS,
        )  # fmt: skip
        address = f"127.0.1.{number}"
        (node,) = [
            node["node_id"]
            for node in json.loads(listed.stdout)
            if node["node_ip"] == address and node["state"] == "ALIVE"
        ]
        return node

    def notice(self, node: str, seconds: int = 60) -> subprocess.CompletedProcess:
        """Tells Ray that a node, by its id, is to be taken away in `seconds`, as a cloud's notice does."""
        command = [
            *("drain-node", "--address", self.inside["RAY_ADDRESS"], "--node-id", node),
            *("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "taken away"),
            *("--deadline-remaining-seconds", str(seconds)),
        ]
        return subprocess.run(
            [self.environment["RAY"], *command],
            env=self.inside,
            capture_output=True,
            text=True,
            timeout=HANGS,
        )

    def script(self, name: str, *arguments: str) -> subprocess.CompletedProcess:
        # Into a file rather than a pipe, which the nodes would hold open.
        with tempfile.TemporaryFile("w+") as said:
            command = [str(SCRIPTS / name), *arguments]
            done = subprocess.run(
                command, env=self.environment, stdout=said, stderr=subprocess.STDOUT, timeout=HANGS
            )
            said.seek(0)
            done.stdout = said.read()
        return done

    def processes(self, title: str) -> list[psutil.Process]:
        """Processes of the cluster whose command line has `title` in it."""
        return [process for process, _ in self._processes(title)]

    def node_of(self, process: psutil.Process) -> int:
        """Number of the node that `process` is of; 0 if it has ended."""
        return next((node for other, node in self._processes("") if other == process), 0)

    def _processes(self, title: str) -> Iterator[tuple[psutil.Process, int]]:
        """The same as `processes`, and the number of the node of each."""
        for file in sorted(self.folder.glob("*.pid")):
            node = int(file.stem)
            with suppress(psutil.Error, ValueError):
                for process in fork_server.descendants(psutil.Process(int(file.read_text()))):
                    with suppress(psutil.Error):
                        if title in " ".join(process.cmdline()):
                            yield process, node


def _free_ports(count: int) -> int:
    """First of so many ports in a row that nothing listens on now, and that no job of Slurm's tests has."""
    while True:
        first = random.randrange(32_000, 32_700)
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue


class Training:
    """`python -m gte_ray.pretrain` on the cluster, in a process of its own."""

    def __init__(self, nodes: Nodes, output: Path, arguments: Sequence[str]):
        """Everything is written below `output`."""
        self.nodes, self.output = nodes, output
        runs, tracking = str(output / "runs"), f"sqlite:///{output}/mlflow.db"
        self.folder = f"{runs}/run"
        self.history = Path(self.folder, "history.jsonl")
        self.command = [
            *(sys.executable, "-m", "gte_ray.pretrain", "--name", "run", "--output", runs),
            *("--tracking-uri", tracking, *arguments),
        ]
        self.starts = 0
        self.start()

    def start(self) -> None:
        self.starts += 1
        with (self.output / "console.log").open("a") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=REPOSITORY,
                env=self.nodes.inside,
                stdout=log,
                stderr=log,
            )

    @property
    def console(self) -> str:
        return (self.output / "console.log").read_text()

    def wait(self, reached: Callable[[], bool], seconds: float = HANGS) -> None:
        """Until `reached`; a command that ends with an error meanwhile is given again, as a person would."""
        deadline = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < deadline, self.console
            if self.process.poll() not in (None, 0):
                self.start()
            time.sleep(0.3)

    def finish(self) -> None:
        self.wait(lambda: self.process.poll() == 0)

    def kill(self, kind: str, choose: random.Random) -> None:
        """Kills a process of that kind at once; a lost node comes back."""
        if kind == "driver":
            self.process.kill()
            self.process.wait()
            self.start()
            return
        if kind == "controller":
            choose.choice(self.nodes.processes("TrainController")).kill()
            return
        victim = choose.choice(self.nodes.processes("RayTrainWorker"))
        number = self.nodes.node_of(victim)
        if kind == "worker" or number == 1:  # without the head there is no cluster
            victim.kill()
        else:
            self.nodes.lose(number)
            self.nodes.up()
