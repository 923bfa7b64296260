"""cluster/slurm/pretrain.sbatch as Slurm runs it, with stand-ins for srun, scontrol, ray and python."""

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.commands import HANGS

SCRIPT = Path(__file__).parents[2] / "cluster/slurm/pretrain.sbatch"

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
time.sleep(900)
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
time.sleep(900)
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

    def record(self, name: str, seconds: float = HANGS) -> str:
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

    def wait(self, seconds: float = HANGS) -> int:
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
