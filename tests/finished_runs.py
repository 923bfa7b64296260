"""What is told of runs that are finished, and what goes on from them."""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from gte_ray.pretrained.identity import identity


def check_an_unscored_model(code: int, out: str, err: str, folder: Path) -> None:
    """What fails in scoring takes no model away."""
    assert (code, "step 6/6" in out) == (1, True)
    assert err.startswith(
        "error: the model could not be scored: ValueError: these scores are not to be; the trained"
    )
    assert f"is in {folder}/model, and the same command scores it without training again" in err
    assert SentenceTransformer(str(folder / "model"), device="cpu").encode("river").shape == (16,)
    assert "## Scores" not in (folder / "model/README.md").read_text()


def mine_and_score(here: Callable) -> None:
    """The store `taught`, with negatives of BM25 and the scores of the first run's model."""
    code, out, err = here("mine", "store", "hard", "--model", "bm25", "--first-rank", "2", "--negatives", "5")
    assert code == 0, err
    assert "negatives of a pair" in out
    code, out, err = here("score", "hard", "taught", "--model", "runs/run/model")
    assert code == 0, err
    assert out.count("scores by model") == 3


def check_the_teacher_s_loss(workplace: Path) -> None:
    """MLflow has it of each of the six steps."""
    client = MlflowClient(f"sqlite:///{workplace}/mlflow.db")
    experiment = client.get_experiment_by_name("gte_ray").experiment_id
    (run,) = client.search_runs([experiment], "attributes.run_name = 'second'")
    losses = client.get_metric_history(run.info.run_id, "distillation")
    assert sorted(metric.step for metric in losses) == list(range(6))
    assert all(metric.value > 0 for metric in losses)


def check_the_benchmark(workplace: Path, out: str, here: Callable) -> None:
    """Its scores after 4 and 6 steps are those of models that are exported and evaluated."""
    saved = json.loads((workplace / "runs/second/results.json").read_text())["scores"]
    assert saved["benchmark"] == "bench" and saved["steps"] == []
    scores = {step: tasks["average"] for step, tasks in saved["benchmark_steps"]}
    assert list(scores) == [4, 6]
    table = out[out.index("bench by steps, %") :]
    assert re.search(rf"average +{100 * scores[4]:.1f} +{100 * scores[6]:.1f}", table)
    assert here("export", "runs/second", "--step", "4", "--to", "four")[0] == 0
    flags = ["--benchmark", "bench", "--threads", "1"]
    code, out, err = here("evaluate", "four", "runs/second/model", *flags)
    assert code == 0, err
    found = re.search(r"average +(\d+\.\d) +(\d+\.\d)", out)
    assert [float(text) for text in found.groups()] == [
        pytest.approx(100 * scores[n], abs=0.051) for n in (4, 6)
    ]
    client = MlflowClient(f"sqlite:///{workplace}/mlflow.db")
    experiment = client.get_experiment_by_name("gte_ray").experiment_id
    (run,) = client.search_runs([experiment], "attributes.run_name = 'second'")
    history = client.get_metric_history(run.info.run_id, "bench/average")
    assert {metric.step: metric.value for metric in history} == pytest.approx(scores)


def check_a_copied_model(workplace: Path, flags: Sequence[str], here: Callable) -> None:
    """The model is known by the run that made it, wherever it lies."""
    shutil.copytree(workplace / "runs/run/model", workplace / "copied")
    code, out, _ = here("finetune", *[word.replace("runs/run/model", "copied") for word in flags])
    assert code == 0
    assert "run second is finished" in out


def check_the_evaluation(workplace: Path, scores: Sequence[float], here: Callable) -> None:
    """Of both runs' models: `scores` of the first, in the table and in MLflow, and nothing is scored again."""
    models = ["runs/run/model", "runs/second/model", "bm25"]
    code, out, err = here("evaluate", *models, "--store", "store", "--limit", "500", "--threads", "1")
    assert code == 0, err
    average = float(re.search(r"average +(\d+\.\d)", out)[1])
    assert average == pytest.approx(100 * np.mean(scores), abs=0.06)
    client = MlflowClient(f"sqlite:///{workplace}/mlflow.db")
    run, *_ = client.search_runs([client.get_experiment_by_name("gte_ray evaluation").experiment_id])
    assert run.info.status == "FINISHED"
    assert "main/large/second/model" in run.data.metrics
    assert {"report.md", "report.html", "table.csv", "plot.png"} <= {
        a.path for a in client.list_artifacts(run.info.run_id)
    }
    code, out, _ = here("evaluate", *models, "--store", "store", "--limit", "500", "--threads", "1")
    assert code == 0
    assert "large  " in out and "run/model  large" not in out


def check_a_mean(folder: Path, kept: dict[int, Path], whole: str, here: Callable) -> None:
    """The model whose weights are the mean of both checkpoints that are `kept`; `whole` is that of the last alone."""
    code, out, _ = here("export", "runs/run", "--average", "2")
    assert code == 0 and "after   4 and 8 of 8 steps" in out and f"model   {folder}/model-4-8" in out
    averaged, both = folder / "model-4-8", [load_file(kept[steps] / "model.safetensors") for steps in (4, 8)]
    for name, value in load_file(averaged / "model.safetensors").items():
        torch.testing.assert_close(value, sum(weights[f"backbone.{name}"] for weights in both) / 2)
    assert identity(str(averaged)) == f"{whole}, mean of those after 4, 8"
    assert "the mean of those after 4 and 8 steps" in (averaged / "README.md").read_text()
