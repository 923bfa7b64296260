"""A run as a person makes it with the wheel, on a small store: output, scores, model, MLflow, and what goes on from it."""

import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from gte_ray.config import from_dict
from gte_ray.config.typed import read
from gte_ray.data.store import open_store
from gte_ray.evaluation.scores import Scores
from gte_ray.evaluation.scoring import score_weights
from gte_ray.model.weights_file import WEIGHTS_FILE
from gte_ray.pretrained.identity import identity
from gte_ray.runs import checkpoint_model, finishing
from gte_ray.runs.plan import plan_run
from gte_ray.train.checkpoints import delete_orphans
from tests import wheel
from tests.beir import write_benchmark
from tests.commands import SMALL
from tests.finished_runs import (
    check_a_copied_model,
    check_a_mean,
    check_an_unscored_model,
    check_the_benchmark,
    check_the_evaluation,
    check_the_teacher_s_loss,
    mine_and_score,
)
from tests.tracking.trackers import check_page

MADE = ["--store", "store", *SMALL, "--eval", "heldout@4", "--dimensions", "16", "6", "--name", "run"]


@pytest.fixture(scope="module")
def workplace(tiny_store, tmp_path_factory) -> Path:
    """A folder with a store, and nothing else."""
    folder = tmp_path_factory.mktemp("workplace")
    shutil.copytree(tiny_store, folder / "store")
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    return wheel.build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def finished(built, workplace, tmp_path_factory) -> subprocess.CompletedProcess:
    """A run of what is in the wheel, where there is no checkout."""
    python = wheel.environment(tmp_path_factory.mktemp("environment"), built)
    where = wheel.run(python, "-c", "import gte_ray; print(gte_ray.__file__)", cwd=workplace)
    assert Path(where.stdout.strip()).is_relative_to(python.parents[1]), where.stdout + where.stderr
    result = wheel.run(python, "-m", "gte_ray.pretrain", *MADE, cwd=workplace)
    assert result.returncode == 0, result.stdout + result.stderr
    return result


@pytest.fixture
def tracked(workplace, finished):
    """MLflow's client, and the run that it has."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{workplace}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("gte_ray").experiment_id])
    return client, run


def test_the_wheel_has_every_module_the_catalogue_the_licence_and_nothing_else(built):
    with zipfile.ZipFile(built) as archive:
        names = archive.namelist()
    inside = {name for name in names if ".dist-info/" not in name}
    assert inside == {path for path in wheel.sources() if path.endswith((".py", ".toml"))}
    assert {name.split(".dist-info/")[1] for name in names if ".dist-info/" in name} == {
        "METADATA", "RECORD", "WHEEL", "licenses/LICENSE", "top_level.txt",
    }  # fmt: skip


def test_a_run_ends_with_scores_model_and_mlflow(workplace, finished):
    assert "step 8/8" in finished.stdout
    assert re.search(r"large .*\d", finished.stdout)
    assert f"model   {workplace}/runs/run/model" in finished.stdout
    assert "mlflow ui --backend-store-uri sqlite:///mlflow.db\n" in finished.stdout
    assert "http://127.0.0.1:5000/#/experiments/1/runs/" in finished.stdout
    assert (
        f"search  python -m gte_ray.search {workplace}/runs/run/model --store {workplace}/store\n"
        in finished.stdout
    )
    assert finished.stderr == ""  # also where MLflow makes its database
    assert "DeepSpeed" not in finished.stdout and "RayTrainWorker" not in finished.stdout
    assert {path.name for path in workplace.iterdir()} == {"store", "runs", "mlflow.db", "mlartifacts"}


def test_mlflow_has_each_step_once_and_the_scores(workplace, tracked):
    client, run = tracked
    assert run.info.status == "FINISHED"
    losses = client.get_metric_history(run.info.run_id, "loss")
    assert sorted(metric.step for metric in losses) == list(range(8))
    grouped = {"speed/padding_share", "speed/pairs_per_second", "optimizer/gradient_norm"}
    assert {*grouped, "accuracy", "masked_share", "heldout/ndcg_at_10"} <= set(run.data.metrics)
    assert run.data.params["global_batch"] == "16"
    check_page(client, run, workplace)
    assert {artifact.path for artifact in client.list_artifacts(run.info.run_id)} == {"config.json", "plots"}


def test_weights_in_between_are_scored_too(workplace, tracked):
    client, run = tracked
    history = client.get_metric_history(run.info.run_id, "heldout/ndcg_at_10")
    assert [metric.step for metric in history] == [4, 8]

    saved = json.loads((workplace / "runs/run/results.json").read_text())["scores"]
    assert [row["source"] for row in saved["after"]] == ["large", "middle"]
    scores = read(Scores, saved)
    config = from_dict(json.loads((workplace / "runs/run/config.json").read_text())["config"])
    tokenizer = open_store(config.data.store).load_tokenizer()
    weights = sorted((workplace / "runs/run/checkpoints").glob(f"checkpoint_*/{WEIGHTS_FILE}"))
    middle, last = (score_weights(config, tokenizer, str(path), gpu=False) for path in weights)
    assert scores.steps == ((4, middle),)
    assert scores.after == last
    assert middle != last


def test_first_dimensions_are_scored_and_exported_as_a_model(workplace, finished, tracked, here):
    saved = json.loads((workplace / "runs/run/results.json").read_text())["scores"]
    ((dimensions, rows),) = saved["dimensions"]
    assert dimensions == 6 and rows != saved["after"]
    mean = np.mean([row["ndcg_at_10"] for row in rows])
    table = finished.stdout[finished.stdout.index("nDCG@10 by dimensions") :]
    assert re.search(r"source +16 +6\b", table)
    assert float(re.search(r"mean +\d+\.\d +(\d+\.\d)", table)[1]) == pytest.approx(100 * mean, abs=0.06)
    assert "| source | 16 | 6 |" in (workplace / "runs/run/model/README.md").read_text()
    assert tracked[1].data.metrics["heldout/ndcg_at_10_dim6"] == pytest.approx(mean)
    code, out, _ = here("export", "runs/run", "--dimensions", "6", "--quantize", "int8", "--threads", "1")
    assert code == 0 and f"model   {workplace}/runs/run/model-8-6d" in out
    assert re.search(rf"float32 +24 +{100 * mean:.1f} +0.0", out) and re.search(r"int8 +6 +\d+\.\d", out)
    card = (workplace / "runs/run/model-8-6d/README.md").read_text()
    assert "| int8 | 6 |" in card and "gte_ray.export" not in card
    assert round(rows[0]["ndcg_at_10"], 4) in [one.metric_value for one in ModelCard(card).data.eval_results]
    whole, cut = (
        SentenceTransformer(str(workplace / "runs/run" / name), device="cpu", **more)
        for name, more in (("model", {"truncate_dim": 6}), ("model-8-6d", {}))
    )
    vectors = cut.encode("river stone")
    assert vectors == pytest.approx(whole.encode("river stone", normalize_embeddings=True), abs=1e-6)
    assert np.linalg.norm(vectors) == pytest.approx(1.0, abs=1e-5)
    first = identity(str(workplace / "runs/run/model-8-6d"))
    assert first == identity(str(workplace / "runs/run/model")) + ", first 6 dimensions"
    code, _, err = here("export", "runs/run", "--dimensions", "17")
    assert code == 2 and "--dimensions is 17; allowed are up to 16, which the model has" in err
    flags = ["--store", "store", "--threads", "1", "--dimensions", "6"]
    code, out, err = here("evaluate", "runs/run/model", *flags)
    assert code == 0, err
    assert "heldout, nDCG@10, 6 dimensions, %" in out
    assert float(re.search(r"average +(\d+\.\d)", out)[1]) == pytest.approx(100 * mean, abs=0.06)


def test_a_finished_run_is_not_run_again(workplace, finished, here):
    code, out, _ = here("pretrain", *MADE)
    assert code == 0
    assert "run run is finished; --fresh trains it anew" in out
    assert "step 8/8" not in out
    assert f"model   {workplace}/runs/run/model" in out


def test_mining_and_finetuning_go_on_from_the_model(workplace, finished, here, monkeypatch):
    """The first scoring fails, and the same command scores without training."""

    def fail_to_score(card, tokenizer, checkpoint, model_folder):
        assert (Path(model_folder) / "model.safetensors").exists()
        raise ValueError("these scores are not to be")

    mine_and_score(here)
    hard = [
        "--store",
        "taught",
        "--teacher-weight",
        "0.5",
        "--teacher-temperature",
        "0.1",
        "--model",
        "runs/run/model",
        "--global-batch",
        "8",
        "--group-size",
        "4",
    ]
    write_benchmark(workplace / "bench")
    more = [*hard, *SMALL, "--global-batch", "8", "--steps", "6", "--name", "second", "--eval", "bench@4"]
    more += ["--guide", "runs/run/model"]
    with monkeypatch.context() as patch:
        patch.setattr(finishing, "score_in_task", fail_to_score)
        code, out, err = here("finetune", *more)
    assert "run second: 6 steps of 8 pairs from 3 sources" in out
    check_an_unscored_model(code, out, err, workplace / "runs/second")
    weights = (workplace / "runs/second/model/model.safetensors").read_bytes()
    code, out, err = here("finetune", *more)
    assert code == 0, err
    assert "step 6/6" not in out
    assert re.search(r"source +docs +seen", out)
    assert "documents seen" in (workplace / "runs/second/model/README.md").read_text()
    assert (workplace / "runs/second/model/model.safetensors").read_bytes() == weights
    check_the_benchmark(workplace, out, here)
    config = json.loads((workplace / "runs/second/config.json").read_text())["config"]
    assert config["training"]["learning_rate"] == pytest.approx(2e-4)  # a tenth of the recipe's
    assert config["data"]["alpha"] == 1.0
    assert config["objective"]["guide"] == str(workplace / "runs/run/model")
    check_the_teacher_s_loss(workplace)
    first, second = (
        json.loads((workplace / f"runs/{name}/results.json").read_text())["scores"]
        for name in ("run", "second")
    )
    assert [row["ndcg_at_10"] for row in second["before"]] == pytest.approx(
        [row["ndcg_at_10"] for row in first["after"]], abs=1e-6
    )
    check_a_copied_model(workplace, more, here)
    code, out, _ = here("show", "runs/run", "runs/second")
    assert code == 0
    assert re.search(r"source +run +second +BM25", out)
    assert re.search(r"mean( +\d+\.\d){3}", out)
    check_the_evaluation(workplace, [row["ndcg_at_10"] for row in first["after"]], here)


def test_export_and_scoring_go_without_training(workplace, finished, ray_local):
    folder = workplace / "runs/run"
    run = plan_run(from_dict(json.loads((folder / "config.json").read_text())["config"]))
    weights = (folder / "model/model.safetensors").read_bytes()
    shutil.rmtree(folder / "model")
    trained = finishing.last_trained(run)
    assert finishing.export(run, trained) == str(folder / "model")
    assert (folder / "model/model.safetensors").read_bytes() == weights
    saved = json.loads((folder / "results.json").read_text())["scores"]
    assert finishing.score(run, trained).to_dict() == read(Scores, saved).to_dict()


def test_a_model_of_any_checkpoint(workplace, finished, here, monkeypatch):
    folder = workplace / "runs/run"
    kept = {
        json.loads(path.read_text())["step"] + 1: path.parent
        for path in folder.glob("checkpoints/checkpoint_*/state.json")
    }
    code, out, err = here("export", "runs/run", "--step", "4", "--to", "early")
    assert (code, err) == (0, "")
    assert "after   4 of 8 steps" in out and f"model   {workplace}/early" in out
    made, weights = (load_file(path / "model.safetensors") for path in (workplace / "early", kept[4]))
    backbone = {name.removeprefix("backbone."): tensor for name, tensor in weights.items()}
    assert made.keys() == backbone.keys() and all(made[name].equal(backbone[name]) for name in made)
    assert SentenceTransformer(str(workplace / "early"), device="cpu").encode("river").shape == (16,)
    card = (workplace / "early/README.md").read_text()
    assert "4 of 8 steps of 16 pairs" in card and "gte_ray.export" not in card

    code, out, _ = here("export", "runs/run")
    assert code == 0 and f"model   {folder}/model-8" in out
    assert (folder / "model-8/model.safetensors").read_bytes() == (
        folder / "model/model.safetensors"
    ).read_bytes()
    card, trained = ((folder / name / "README.md").read_text() for name in ("model-8", "model"))
    assert card.partition("The command:")[0] == trained.partition("The command:")[0] and "ndcg_at_10" in card
    assert json.loads((folder / "config.json").read_text())["command"] in card
    whole = identity(str(folder / "model"))
    assert identity(str(folder / "model-8")) == whole and whole.startswith("model of run ")
    assert identity(str(workplace / "early")) == f"{whole} after 4 steps"
    check_a_mean(folder, kept, whole, here)
    code, _, err = here("export", "runs/run", "--average", "2", "--step", "4")
    assert code == 2 and "--average is 2; allowed are up to 1" in err
    code, _, err = here("export", "runs/run", "--step", "5")
    assert code == 2 and f"--step is 5; allowed are those that {folder} has a checkpoint of: 4, 8" in err
    code, _, err = here("export", "store")
    assert code == 1 and "store: is no run's folder (no config.json)" in err

    def gone(*arguments):
        raise FileNotFoundError("model.safetensors")

    monkeypatch.setattr(checkpoint_model, "export_weights", gone)
    code, _, err = here("export", "runs/run", "--to", "never")
    assert code == 1 and "was deleted meanwhile; the run keeps its last 2, so try again" in err
    assert not (workplace / "never").exists()


def test_checkpoints_that_ray_has_not_registered_are_deleted(workplace, finished):
    folder = workplace / "runs/run/checkpoints"
    assert len(registered := set(folder.glob("*"))) > 1
    (folder / "checkpoint_2020-01-01_00-00-00.000000").mkdir()
    delete_orphans(str(workplace / "runs/run"))
    assert set(folder.iterdir()) == registered


def test_the_same_name_for_another_run_is_refused(workplace, finished, here):
    code, _, err = here("pretrain", *MADE, "--alpha", "1")
    assert code == 2
    assert "made with other settings (alpha 0.5 -> 1.0)" in err
    assert (workplace / "runs/run/model/model.safetensors").exists()
