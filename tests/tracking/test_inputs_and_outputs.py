"""What MLflow shows beside the metrics of a run: the store that it trains on, and its model."""

import json

from gte_ray.tracking.tracker import TrackedRun
from tests.tracking.trackers import query, start


def test_a_run_has_its_dataset_and_its_model_once(folder):
    """Also when it was cut off before it could say that they are written."""
    for _ in range(2):
        tracker = start(folder)
        tracker.log_dataset("store", "ab12", "s3://bucket/store", {"num_rows": 7})
        tracker.log_step(9, {"loss": 1.0})
        tracker.log_model("tiny", "/runs/tiny/model", 10)
        tracker.log_step(10, {"heldout/ndcg_at_10": 0.5})
        run_id = tracker.run_id(60)
        assert tracker.finish(timeout_s=60) == ""
    from gte_ray.tracking.mlflow_run import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (given,) = client.get_run(run_id).inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest, given.dataset.source_type) == ("store", "ab12", "s3")
    assert json.loads(given.dataset.source) == {"uri": "s3://bucket/store"}
    assert json.loads(given.dataset.profile) == {"num_rows": 7}
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training")]
    (output,) = client.get_run(run_id).outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert (model.name, model.source_run_id, model.status.name) == ("tiny", run_id, "READY")
    assert model.tags["gte_ray.folder"] == "/runs/tiny/model"
    assert [(metric.key, metric.value, metric.step) for metric in model.metrics] == [
        ("heldout/ndcg_at_10", 0.5, 10)
    ]
    assert query(folder, "select key, step from metrics order by step") == [
        ("loss", 9),
        ("heldout/ndcg_at_10", 10),
    ]


def test_a_server_without_models_has_the_run_all_the_same(folder, monkeypatch):
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND

    from gte_ray.tracking.mlflow_run import MlflowClient

    def unknown(*_, **__):
        raise MlflowException("no such call", ENDPOINT_NOT_FOUND)

    monkeypatch.setattr(MlflowClient, "search_logged_models", unknown)
    warnings: list[str] = []
    tracker = start(folder, warnings=warnings)
    tracker.log_model("tiny", "/runs/tiny/model", 10)
    tracker.log_step(10, {"heldout/ndcg_at_10": 0.5})
    assert tracker.finish(timeout_s=60) == ""
    assert query(folder, "select key, step from metrics") == [("heldout/ndcg_at_10", 10)]
    assert warnings == ["MLflow's server is too old for models and shows none; the run itself is there"]


def test_a_dataset_that_mlflow_refuses_takes_no_other_record_with_it(folder):
    tracker = start(folder)
    tracker.log_dataset("store", "x" * 100, "/store", {})
    tracker.log_step(1, {"loss": 1.0})
    assert tracker.finish(timeout_s=60).startswith("MLflow refused 1 value(s), which are lost (")
    assert query(folder, "select step from metrics") == [(1,)]


def test_names_that_mlflow_refuses_are_made_fit_and_found_again(folder):
    run = TrackedRun("it's.1-0123", "it's.1", "laptop")
    ids = []
    for _ in range(2):
        tracker = start(folder, run)
        tracker.log_model("it's.1", "/runs/it's.1/model", 10)
        ids.append(tracker.run_id(60))
        assert tracker.finish(timeout_s=60) == ""
    assert len(set(ids)) == 1
    assert query(folder, "select name from logged_models") == [("it-s-1",)]


def test_a_registered_model_gets_a_version_of_each_run_once(folder):
    from gte_ray.tracking.mlflow_run import MlflowClient

    for key in ("a", "a", "b"):
        tracker = start(folder, TrackedRun(f"{key}-0123", key, "laptop"))
        tracker.log_model(key, f"/runs/{key}/model", 10, "it's mine")
        assert tracker.finish(timeout_s=60) == ""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    versions = client.search_model_versions()
    assert {version.name for version in versions} == {"it's mine"}
    folders = {int(version.version): version.tags["gte_ray.folder"] for version in versions}
    assert folders == {1: "/runs/a/model", 2: "/runs/b/model"}
    assert len({version.run_id for version in versions}) == 2


def test_a_model_that_was_cut_off_in_between_becomes_the_runs_output(folder, monkeypatch):
    from gte_ray.tracking.mlflow_run import MlflowClient

    log_outputs, failures = MlflowClient.log_outputs, [ConnectionError("away")]

    def away_once(*arguments):
        if failures:
            raise failures.pop()
        log_outputs(*arguments)

    monkeypatch.setattr(MlflowClient, "log_outputs", away_once)
    warnings: list[str] = []
    tracker = start(folder, warnings=warnings)
    tracker.log_model("tiny", "/runs/tiny/model", 10)
    run_id = tracker.run_id(60)
    assert tracker.finish(timeout_s=60) == ""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (output,) = client.get_run(run_id).outputs.model_outputs
    assert client.get_logged_model(output.model_id).status.name == "READY"
    assert query(folder, "select count(*) from logged_models") == [(1,)] and len(warnings) == 1
