"""An MLflow server for tests."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request

import psutil
import pytest

from tests.commands import HANGS


class Server:
    """`mlflow server` on a loopback port."""

    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self):
        database = f"sqlite:///{self.folder}/mlflow.db"
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", database, "--artifacts-destination", f"{self.folder}/served"]
        self.process = subprocess.Popen(
            command,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ
            | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},  # of its own, which start slowly
        )
        deadline = time.monotonic() + HANGS
        while time.monotonic() < deadline:
            try:
                return urllib.request.urlopen(f"{self.uri}/health", timeout=1).read()
            except OSError:
                time.sleep(0.2)
        raise TimeoutError("mlflow server did not start")

    def stop(self):
        """Kills the server with all its processes, parents first, so that none is started anew."""
        with contextlib.suppress(psutil.NoSuchProcess):
            leader = psutil.Process(self.process.pid)
            processes = [leader, *leader.children(recursive=True)]
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes, timeout=10)
        self.process.wait()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", self.port), timeout=10)
