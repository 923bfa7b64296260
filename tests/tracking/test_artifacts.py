"""Files on their way into MLflow, whose database can be written to and whose artifact store cannot."""

import socket
import time
from pathlib import Path

import pytest

from gte_ray.tracking.queue import unwritten
from gte_ray.tracking.tracker import TrackedRun
from tests.tracking.trackers import query, start


def test_an_artifact_store_that_is_closed_costs_the_files_alone_and_they_come_later(folder):
    from gte_ray.tracking.mlflow_run import MlflowClient

    (folder / "store").write_text("a file where a folder should be")
    MlflowClient(f"sqlite:///{folder}/mlflow.db").create_experiment("laptop", f"{folder}/store/here")
    for name in ("config.json", "card.md"):
        (folder / name).write_text(name)
    for _ in range(2):  # starting again while it is closed changes nothing
        tracker = start(folder)
        tracker.log_artifact(str(folder / "config.json"))  # the first thing that a run does
        tracker.log_artifact(str(folder / "card.md"))
        for step in range(5):
            tracker.log_step(step, {"loss": float(step)})
        said = tracker.finish(timeout_s=60)
        assert said.startswith("MLflow's artifact store could not be written to (NotADirectoryError")
        assert "2 file(s) are missing there" in said
        assert query(folder, "select step, value from metrics order by step") == [(s, s) for s in range(5)]
        assert query(folder, "select status from runs") == [("FINISHED",)]
        assert unwritten(str(folder / "run/queue.jsonl"))
    (folder / "store").unlink()
    assert start(folder).finish(timeout_s=60) == ""
    assert sorted(path.name for path in (folder / "store").rglob("*") if path.is_file()) == [
        "card.md",
        "config.json",
    ]
    assert not unwritten(str(folder / "run/queue.jsonl"))


def test_metrics_do_not_wait_for_an_artifact_store_that_hangs(folder, monkeypatch):
    from gte_ray.tracking.mlflow_run import MlflowClient

    MlflowClient(f"sqlite:///{folder}/mlflow.db").create_experiment("laptop", "s3://bucket/mlflow")
    (folder / "config.json").write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections and says nothing
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        tracker = start(folder)
        tracker.log_artifact(str(folder / "config.json"))
        assert not tracker.flush(3)
        tracker.log_step(1, {"loss": 1.0})
        begun = time.monotonic()
        said = tracker.finish(timeout_s=5)
        assert time.monotonic() - begun < 8
    assert "artifact store could not be written to (no answer): 1 file(s)" in said
    assert query(folder, "select step from metrics") == [(1,)]
    assert query(folder, "select status from runs") == [("FINISHED",)]


@pytest.mark.parametrize(
    "experiment", ["/Users/me@example.org/exp", "../../x", "..", "a/b", ".x", "a#b?c %", "~"]
)
def test_artifacts_stay_beside_the_database_whatever_the_experiment_is_called(folder, experiment):
    (folder / "card.md").write_text("card")
    places = []
    for number, name in enumerate((experiment, f"{experiment}!")):
        tracker = start(folder, TrackedRun(str(number), "n", name))
        tracker.log_artifact(str(folder / "card.md"))
        assert tracker.finish(timeout_s=60) == ""
        places += query(folder, f"select artifact_location from experiments where name = '{name}'")
    assert all(Path(place).parent == folder / "mlartifacts" for (place,) in places) and len(set(places)) == 2
    assert len(list((folder / "mlartifacts").glob("*/*/artifacts/card.md"))) == 2
