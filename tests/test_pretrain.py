"""The commands as a person runs them, on a small store: output, exit codes, what is left behind."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

SMALL = [
    *("--steps", "8", "--global-batch", "16", "--hidden-size", "16", "--layers", "1", "--heads", "2"),
    *("--intermediate-size", "32", "--vocab-size", "300", "--max-length", "16", "--checkpoint-every", "4"),
    *("--threads", "1"),
]


def command(module: str, *arguments: str, cwd: Path, timeout: float = 200) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    return subprocess.run(
        [sys.executable, "-m", f"gte_ray.{module}", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=timeout,
        env=environment | {"COLUMNS": "160"},
    )


@pytest.fixture(scope="module")
def workplace(tiny_store, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("workplace")
    shutil.copytree(tiny_store, folder / "store")
    return folder


@pytest.fixture(scope="module")
def finished(workplace) -> subprocess.CompletedProcess:
    result = command("pretrain", "--store", "store", *SMALL, "--name", "run", cwd=workplace)
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def test_a_run_ends_with_scores_model_and_mlflow(workplace, finished):
    assert "step 8/8" in finished.stdout
    assert re.search(r"large .*\d", finished.stdout)
    assert f"model   {workplace}/runs/run/model" in finished.stdout
    assert f"sqlite:////{str(workplace).lstrip('/')}/mlflow.db" in finished.stdout
    noise = [line for line in finished.stderr.splitlines() if line.strip()]
    assert not noise


def test_the_model_is_a_sentence_transformer(workplace, finished):
    model = SentenceTransformer(str(workplace / "runs/run/model"), device="cpu")
    vectors = model.encode(["river stone", "a much longer text about river stones and clouds" * 9])
    assert vectors.shape == (2, 16)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_mlflow_has_each_step_once_and_the_scores(workplace, finished):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{workplace}/mlflow.db")
    experiment = client.get_experiment_by_name("gte_ray")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    losses = client.get_metric_history(run.info.run_id, "loss")
    assert sorted(metric.step for metric in losses) == list(range(8))
    wanted = {"accuracy", "learning_rate", "gradient_norm", "pairs_per_second", "padding_share", "masked_share"}
    assert wanted <= set(run.data.metrics)
    assert "heldout/mean/ndcg_at_10" in run.data.metrics
    assert run.data.params["global_batch"] == "16"
    assert {artifact.path for artifact in client.list_artifacts(run.info.run_id)} >= {"plots"}


def test_a_finished_run_is_not_run_again(workplace, finished):
    again = command("pretrain", "--store", "store", *SMALL, "--name", "run", cwd=workplace)
    assert again.returncode == 0
    assert "run run is finished; --fresh trains it anew" in again.stdout
    assert "step 8/8" not in again.stdout
    assert f"model   {workplace}/runs/run/model" in again.stdout


def test_the_same_name_for_another_run_is_refused(workplace, finished):
    other = command("pretrain", "--store", "store", *SMALL, "--name", "run", "--alpha", "1", cwd=workplace)
    assert other.returncode == 2
    assert "made with other settings (alpha 0.5 -> 1.0)" in other.stderr
    assert (workplace / "runs/run/model/model.safetensors").exists()


def test_dry_run_forecasts_and_starts_nothing(workplace):
    result = command(
        "pretrain", "--recipe", "gte-base", "--store", "store", "--retokenize", "--dry-run", cwd=workplace
    )
    assert result.returncode == 0, result.stderr
    assert "learning_rate=0.0002" in result.stdout
    assert "memory of a worker" in result.stdout
    assert re.search(r"parameters .*1\d\d\.\d M", result.stdout)
    assert not (workplace / "runs" / "gte-base").exists()


def test_show_the_mixture_and_a_batch(workplace):
    mixture = command("show", "store", "--recipe", "gte-base", cwd=workplace)
    assert mixture.returncode == 0
    assert re.search(r"large +│ others", mixture.stdout)
    assert "100.0%" in mixture.stdout
    batch = command("show", "store", "--step", "3", "--global-batch", "4", cwd=workplace)
    assert re.search(r"step 3 of \d+: 4 pairs of (large|middle|small)", batch.stdout)
    outside = command("show", "store", "--step", "100000", cwd=workplace)
    assert outside.returncode == 2
    assert "--step is 100000; allowed is 0 to" in outside.stderr


def test_diverging_stops_with_step_and_source_and_keeps_the_checkpoint(workplace):
    result = command(
        "pretrain", "--store", "store", *SMALL, "--name", "wild", "--max-grad-norm", "0",
        "--learning-rate", "1e36", "--checkpoint-every", "1", "--warmup", "0", cwd=workplace,
    )  # fmt: skip
    assert result.returncode == 1
    assert re.search(r"error: training diverged: .* of step \d+ \(source \w+\) is not finite", result.stderr)
    assert "Traceback" not in result.stderr
    kept = list((workplace / "runs/wild/checkpoints").glob("checkpoint_*/model.safetensors"))
    assert kept


def test_training_goes_on_without_mlflow(workplace):
    away = ["--tracking-uri", "http://127.0.0.1:9"]
    result = command("pretrain", "--store", "store", *SMALL, "--name", "alone", *away, cwd=workplace)
    assert result.returncode == 0, result.stderr
    assert "cannot be written to" in " ".join(result.stdout.split())
    spool = workplace / "runs/alone/mlflow-spool.jsonl"
    steps = [json.loads(line)["step"] for line in spool.read_text().splitlines() if '"loss"' in line]
    assert steps == list(range(8))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--store", "nowhere"], "nowhere: the pair store is missing"),
        (["--store", "store", "--sources", "nope"], "there is no source 'nope'; there are large, middle, small"),
        (["--store", "store", "--base", "no/such-model", *SMALL], "no/such-model"),
        (["--store", "store", "--max-length", "64"], "its token ids are cut at 24 tokens"),
        (["--store", "store", "--tracking-uri", "what"], "--tracking-uri is 'what'"),
    ],
)
def test_bad_input_in_one_sentence(workplace, arguments, sentence):
    result = command("pretrain", *arguments, cwd=workplace)
    assert result.returncode in (1, 2)
    assert sentence in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
