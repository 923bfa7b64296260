"""Fixtures that many tests share."""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

# One small machine runs many processes: none of them may take all cores, or reach for a model hub.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Ray's workers are what the tests wait for; Ray would have everything else go before them.
os.environ.setdefault("RAY_worker_niceness", "0")
# Nobody looks at what Ray's daemons measure and gather of their node, twice a second and more.
os.environ.setdefault("RAY_enable_metrics_collection", "0")
os.environ.setdefault("RAY_TRAIN_METRICS_ENABLED", "0")
os.environ.setdefault("REPORTER_UPDATE_INTERVAL_MS", "60000")
os.environ.setdefault("LOG_NAME_UPDATE_INTERVAL_S", "10")
# Processes start when there is something for them to do, rather than one on each CPU for each command.
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")

import pytest

from tests import fork_server

if TYPE_CHECKING:
    from tests.bucket import Bucket


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that use Ray. The file on the cluster takes longest and comes first, then the others that start
    processes, then those of many tests: of two processes that share the files, none is left with a long one at the end."""
    for item in items:
        if {"nodes", "ray_local"} & set(item.fixturenames):
            item.add_marker("processes")
    cluster = {item.path for item in items if "nodes" in item.fixturenames}
    long = {item.path for item in items if item.get_closest_marker("processes")}
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path not in cluster, 0 if item.path in long else 1 / tests[item.path]))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Starts the server of Ray's workers if there will be some."""
    if session.config.option.collectonly:
        return
    if any(item.get_closest_marker("processes") for item in session.items):
        fork_server.start()


@pytest.fixture(scope="session")
def ray_local():
    """A local Ray of four logical CPUs for all tests of the session."""
    import ray

    if not ray.is_initialized():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "executable", os.environ[fork_server.EXECUTABLE])
            ray.init(
                address="local",
                num_cpus=4,
                object_store_memory=512 * 2**20,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
            )
    yield
    ray.shutdown()


@pytest.fixture
def run_main(ray_local, monkeypatch, capsys):
    """Runs a command's main in this process, on the Ray that is there: (exit code, stdout, stderr)."""
    from gte_ray.cli.console import run_command

    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(main: Callable[[], None], program: str, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        code = 0
        try:
            run_command(main)
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def here(run_main, workplace, monkeypatch):
    """Runs a command in this process: (exit code, stdout, stderr)."""
    monkeypatch.chdir(workplace)
    return lambda module, *arguments: run_main(import_module(f"gte_ray.{module}").main, module, *arguments)


@pytest.fixture(scope="module")
def workplace(tiny_store, empty_database, tmp_path_factory) -> Path:  # noqa: F811
    """A folder with a store and an empty database of MLflow."""
    folder = tmp_path_factory.mktemp("workplace")
    (folder / "mlflow.db").write_bytes(empty_database)
    shutil.copytree(tiny_store, folder / "store")
    return folder


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory) -> bytes:
    """An sqlite database with MLflow's tables, which take seconds to make, and no run."""
    from gte_ray.tracking.mlflow_run import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path.read_bytes()


@pytest.fixture(scope="session")
def bucket() -> "Iterator[Bucket]":
    """An S3 server that this process and all that it starts use."""
    from tests.bucket import Bucket

    with pytest.MonkeyPatch.context() as environment:
        found = Bucket()
        for name, value in found.environment.items():
            environment.setenv(name, value)
        yield found
        found.stop()


from tests.data.conftest import tiny_store  # noqa: E402, F401
