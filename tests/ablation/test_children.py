"""Trials whose own process never reached MLflow are in its records all the same."""

from dataclasses import replace

from rich.console import Console

from gte_ray.ablation import run_study
from gte_ray.ablation.study import Ablation, Row, more_is_better
from gte_ray.cli.progress import ConsoleDisplay
from gte_ray.recipes.paper import tiny
from gte_ray.runtime.cluster import Interruption


def test_a_trial_that_fails_before_it_reaches_mlflow_is_told_with_its_reason(
    tiny_store, empty_database, tmp_path, monkeypatch
):
    (tmp_path / "mlflow.db").write_bytes(empty_database)
    base = tiny(tiny_store)
    base = replace(
        base,
        run=replace(base.run, output=str(tmp_path / "runs"), tracking_uri=f"sqlite:///{tmp_path}/mlflow.db"),
    )

    def rows(base, setting):
        return [Row("first", base), Row("both", replace(base, seed=7), first=base)]

    monkeypatch.setattr(run_study, "check_capacity", lambda *_: None)
    monkeypatch.setattr(run_study, "run_trials", lambda tracked, *_: ["the machine is gone"] * len(tracked))
    study = run_study.plan_study(
        "demo", Ablation("T", "?", "Up.", rows, more_is_better, "x"), "laptop", base, 1
    )
    report = run_study.run_study(study, ConsoleDisplay(Console(quiet=True)), lambda *_: None, Interruption())
    assert [(result.shown, result.failure) for result in report.results] == [
        ("failed", "the machine is gone"),
        ("failed", "both, first stage: the machine is gone"),
    ]
