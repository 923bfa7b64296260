"""The commands on a small store where no run ends well: forecasts, tables, bad input, divergence, a signal."""

import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.commands import HANGS, SMALL


def test_dry_run_forecasts_and_starts_nothing(workplace, here):
    code, out, err = here("pretrain", "--recipe", "gte-base", "--store", "store", "--retokenize", "--dry-run")
    assert code == 0, err
    assert "learning_rate=0.0002" in out
    assert "memory of a worker" in out
    assert re.search(r"parameters .*1\d\d\.\d M", out)
    assert not list((workplace / "runs").glob("gte-base*"))


def test_show_the_mixture_and_a_batch(here):
    code, out, _ = here("show", "store", "--recipe", "gte-base")
    assert code == 0
    assert re.search(r"large +│ others", out)
    assert "100.0%" in out
    code, out, _ = here("show", "store", "--step", "3", "--global-batch", "4")
    assert code == 0
    assert re.search(r"step 3 of \d+: 4 pairs of (large|middle|small)", out)
    code, _, err = here("show", "store", "--step", "100000")
    assert code == 2
    assert "--step is 100000; allowed is 0 to" in err
    code, _, err = here("show", "store", "nowhere")
    assert code == 2
    assert "store is no finished run; allowed are one store, or folders of finished runs" in err


def test_diverging_without_mlflow_loses_nothing(workplace, here):
    """Stops with step and source named, keeps the last checkpoint, and keeps what MLflow could not take."""
    code, out, err = here(
        "pretrain", "--store", "store", *SMALL, "--name", "wild", "--tracking-uri", "http://127.0.0.1:9",
        "--max-grad-norm", "0", "--learning-rate", "1e36", "--checkpoint-every", "1", "--warmup", "0",
    )  # fmt: skip
    assert code == 1
    assert re.search(r"error: training diverged: .* of step \d+ \(source \w+\) is not finite", err)
    assert "cannot be written to" in " ".join(out.split())
    folder = workplace / "runs/wild"
    kept = [
        json.loads(path.read_text())["step"] for path in folder.glob("checkpoints/checkpoint_*/state.json")
    ]
    queued = [
        json.loads(line)["step"]
        for line in (folder / "mlflow-queue.jsonl").read_text().splitlines()
        if '"loss"' in line
    ]
    assert queued
    assert queued == list(range(len(queued)))
    assert max(kept) == queued[-1]


KILLED = "long [v2] %41"


def has_run(database: Path) -> bool:
    """Whether MLflow has made its tables and a run."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return connection.execute("select 1 from runs").fetchone() is not None
    except sqlite3.OperationalError:
        return False


@pytest.fixture(scope="module")
def killed(workplace) -> subprocess.CompletedProcess:
    """A run with --verbose that is sent SIGTERM after its first checkpoint; its MLflow database is a new one."""
    flags = ["--store", "store", *SMALL, "--steps", "100000", "--name", KILLED, "--verbose"]
    out, err = workplace / "out.txt", workplace / "err.txt"
    process = subprocess.Popen(
        [sys.executable, "-m", "gte_ray.pretrain", *flags, "--tracking-uri", "sqlite:///killed.db"],
        cwd=workplace,
        stdout=out.open("w"),
        stderr=err.open("w"),
        env={k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")},
    )
    folder = workplace / f"runs/{KILLED}"
    deadline = time.monotonic() + HANGS
    while time.monotonic() < deadline and process.poll() is None:
        if list(folder.glob("checkpoints/checkpoint_*/state.json")) and has_run(workplace / "killed.db"):
            break
        time.sleep(0.1)
    process.terminate()
    code = process.wait(timeout=HANGS)
    return subprocess.CompletedProcess(process.args, code, out.read_text(), err.read_text())


def test_sigterm_ends_at_once_and_marks_the_run_as_killed(workplace, killed):
    assert killed.returncode == 130
    assert "interrupted; the same command goes on from the last checkpoint" in killed.stderr
    assert f"run {KILLED}: 100,000 steps" in killed.stdout
    assert "verbose" not in json.loads((workplace / f"runs/{KILLED}/config.json").read_text())["config"]
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{workplace}/killed.db")
    experiment = client.get_experiment_by_name("gte_ray")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == (KILLED, "KILLED")


def test_verbose_shows_the_logs_of_ray_deepspeed_and_mlflow(killed):
    """Without it there is none of them: see test_pretrain."""
    assert "Started a local Ray instance" in killed.stderr
    assert re.search(r"\(TrainController.*Started training worker group", killed.stderr)
    assert re.search(r"\(RayTrainWorker.*DeepSpeed info: version=", killed.stdout)
    assert "INFO mlflow.store.db.utils: Updating database tables" in killed.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--store", "nowhere"], 1, "nowhere: the pair store is missing"),
        (["--store", "store", "--sources", "nope"], 1, "no source 'nope'; there are large, middle, small"),
        (["--store", "store", "--base", "no/such-model", *SMALL], 1, "no/such-model"),
        (["--store", "store", "--max-length", "64"], 1, "its token ids are cut at 24 tokens"),
        (["--store", "store", "--tracking-uri", "what"], 2, "--tracking-uri is 'what'"),
        (
            ["--store", "store", *SMALL, "--eval", "heldot@4"],
            2,
            "--eval is 'heldot'; allowed are heldout, mteb-en",
        ),
        (["--store", "s9://bucket/store"], 2, "manifest.json: not a location that can be opened"),
    ],
)
def test_bad_input_in_one_sentence(here, arguments, code, sentence):
    found, _, err = here("pretrain", *arguments)
    assert found == code
    assert sentence in " ".join(err.split())
    assert "Traceback" not in err
