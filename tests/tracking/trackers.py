"""A tracker on a database of its own; what the database has, and what MLflow shows of a run."""

import sqlite3

import pytest

from gte_ray.data.store import open_store
from gte_ray.tracking.tracker import TrackedRun, Tracker

RUN = TrackedRun(
    key="tiny-0123", name="tiny", experiment="laptop", params={"training.steps": 10, "workers": 2}
)


def start(folder, run=RUN, uri=None, warnings=None):
    warn = warnings.append if warnings is not None else pytest.fail
    return Tracker(uri or f"sqlite:///{folder}/mlflow.db", run, str(folder / "run/queue.jsonl"), warn)


def query(folder, sql):
    with sqlite3.connect(folder / "mlflow.db") as database:
        return database.execute(sql).fetchall()


def check_page(client, run, workplace):
    """A run made in `workplace` by `gte_ray.pretrain` has its result, its command, its store and its model."""
    mean, text = run.data.metrics["heldout/ndcg_at_10"], run.data.tags["mlflow.note.content"]
    assert f"nDCG@10: **{100 * mean:.1f} %**" in text and "| large |" in text
    assert "python -m gte_ray.pretrain " in text and f"source(s) of `{workplace}/store`" in text
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == (
        "store",
        open_store(f"{workplace}/store").fingerprint,
    )
    model = client.get_logged_model(run.outputs.model_outputs[0].model_id)
    assert model.tags["gte_ray.folder"] == f"{workplace}/runs/run/model"
    assert {metric.key: metric.value for metric in model.metrics}["heldout/ndcg_at_10"] == mean
