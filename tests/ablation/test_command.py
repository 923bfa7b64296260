"""`ablations/run.py` as a person runs it: real Ray Tune, real MLflow, runs of a few thousand weights."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from sentence_transformers import SentenceTransformer

from gte_ray.ablation.command import main
from gte_ray.cli.console import run_command
from gte_ray.cli.flags import BUILTIN_STORE
from tests.beir import CORPUS, QUERIES, write_benchmark
from tests.commands import HANGS

RUN = Path(__file__).parents[2] / "ablations/run.py"
MICRO = '''
"""Three rows: one that trains, one that goes on from its model in groups, one whose base model is not there."""

from dataclasses import replace

from gte_ray.ablation.study import Ablation, Row, more_is_better
from gte_ray.config.fields import Evaluation


def rows(base, setting):
    model = replace(base.model, hidden_size=16, layers=1, heads=2, intermediate_size=32, vocab_size=300)
    base = replace(
        base,
        data=replace(base.data, max_length=16),
        model=model,
        training=replace(base.training, steps=8, global_batch=16, max_grad_norm=1.0),
        run=replace(base.run, checkpoint_every=4, eval=Evaluation("heldout", 4)),
    )
    second = replace(base, data=replace(base.data, group_size=2))
    return [
        Row("first", base),
        Row("both", second, first=base),
        Row("lost", replace(base, model=replace(model, base="./no-such-model"))),
    ]


ABLATION = Ablation("ours", "how often?", "Twice is better.", rows, more_is_better, "stages", curves=True)
'''

HALVES = (
    MICRO[: MICRO.index("    second =")]
    + """
    return [
        Row("half", base, 36.7, x=4, step=4, paper_parts={"STS": 73.2}),
        Row("whole", base, 44.2, x=8, paper_parts={"STS": 76.5}),
    ]


ABLATION = Ablation("Table 8", "how many?", "More is better.", rows, more_is_better, "steps")
"""
)
"""The first row of it after half of its steps, and after all."""


def command(*arguments: str, cwd: Path, **more) -> subprocess.Popen:
    environment = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    return subprocess.Popen(
        [sys.executable, str(RUN), *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment | {"COLUMNS": "160"},
        **more,
    )


@pytest.fixture
def here(run_main, workplace, monkeypatch):
    """Runs the command in this process: exit code and all that it printed."""
    monkeypatch.chdir(workplace)

    def run(*arguments: str) -> tuple[int, str]:
        code, out, err = run_main(lambda: main(RUN.parent), "run.py", *arguments)
        return code, out + err

    return run


@pytest.fixture(scope="module")
def workplace(tiny_store, empty_database, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ablations")
    (folder / "mlflow.db").write_bytes(empty_database)
    shutil.copytree(tiny_store, folder / "store")
    (folder / "micro.py").write_text(MICRO)
    (folder / "halves.py").write_text(HALVES)
    return folder


def children(folder: Path) -> dict[str, dict]:
    """What MLflow has of each trial, by row."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("ablation micro")
    runs = client.search_runs([experiment.experiment_id], "tags.`gte_ray.row` != ''")
    return {run.data.tags["gte_ray.row"]: run.to_dictionary() for run in runs}


def test_a_killed_ablation_goes_on_and_a_failed_trial_is_told(workplace, here):
    first = command("micro.py", "--store", "store", cwd=workplace, start_new_session=True)
    results = workplace / "runs"
    deadline = time.monotonic() + HANGS
    while not list(results.glob("*/results.json")):
        assert first.poll() is None, first.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    known = json.loads(next(iter(results.glob("*/results.json"))).read_text())["mlflow_run"]

    code, output = here("micro.py", "--store", "store")
    assert code == 1, output
    assert "2 trial(s) to run, 1 finished earlier" in output
    assert "lost failed: " in output
    assert "no-such-model" in output
    assert "The claim cannot be told from these runs" in output
    assert "error: 1 row(s) have trials that failed" in output

    found = children(workplace)
    assert {row: run["info"]["status"] for row, run in found.items()} == {
        "first": "FINISHED",
        "both": "FINISHED",
        "lost": "FAILED",
    }
    assert found["first"]["info"]["run_id"] == known
    assert " micro.py --store store" in found["both"]["data"]["tags"]["mlflow.note.content"]
    (trained,) = [path.parent for path in results.glob("*/results.json") if known in path.read_text()]
    assert found["both"]["data"]["params"]["base"] == str(trained / "model")
    parents = {run["data"]["tags"]["mlflow.parentRunId"] for run in found.values()}
    assert len(parents) == 1
    client, parent = MlflowClient(f"sqlite:///{workplace}/mlflow.db"), parents.pop()
    for row in ("first", "both"):
        run_id = found[row]["info"]["run_id"]
        assert [m.step for m in client.get_metric_history(run_id, "loss")] == list(range(8))
        assert [m.step for m in client.get_metric_history(run_id, "heldout/ndcg_at_10")] == [4, 8]
    artifacts = {artifact.path for artifact in client.list_artifacts(parent)}
    assert artifacts == {"cells.json", "report.md", "report.html", "table.csv", "plot.png", "plot.svg"}
    assert client.get_run(parent).info.status == "FAILED"
    assert "| first |" in client.get_run(parent).data.tags["mlflow.note.content"]

    client.set_tag(parent, "gte_ray.verdict", "of an older report")
    code, again = here("report", "micro.py")
    assert code == 0, again
    assert client.get_run(parent).data.tags["gte_ray.verdict"].startswith("The claim ")
    table = output[output.index("ours: how often?") : output.index("MLflow  ")]
    assert table in again


def ndcg_of(model: Path, corpus: list[str], queries: list[str], relevant: Sequence[int]) -> float:
    """In percent, by sentence-transformers and numpy alone; one document is relevant to each query."""
    encoder = SentenceTransformer(str(model), device="cpu")
    scores = encoder.encode(queries) @ encoder.encode(corpus).T
    ranks = [1 + int((row > row[document]).sum()) for row, document in zip(scores, relevant, strict=True)]
    return 100 * float(np.mean([1 / np.log2(1 + rank) if rank <= 10 else 0.0 for rank in ranks]))


def test_rows_are_scored_on_a_benchmark_after_their_steps(workplace, here):
    bench = workplace / "bench"
    write_benchmark(bench)
    code, output = here("halves.py", "--store", "store", "--metric", "bench", "heldout")
    assert code == 0, output
    assert "scoring 2 model(s) on bench, 1 task(s)" in output
    assert 0 < output.index("ours, bench %") < output.index("ours, held-out nDCG@10 %")
    assert output.count("The claim") == 2
    (trained,) = [path.parent for path in workplace.glob("runs/*/model-4")]
    for row, model in (("half", "model-4"), ("whole", "model")):
        expected = ndcg_of(trained / model, CORPUS, QUERIES, range(len(QUERIES)))
        assert float(re.search(rf"^ *{row} +(\d+\.\d) ", output, re.MULTILINE)[1]) == pytest.approx(
            expected, abs=0.051
        )
        assert "STS" not in output  # which this benchmark does not have
    code, again = here("halves.py", "--store", "store", "--metric", "bench", "heldout")
    assert code == 0 and "scoring" not in again
    assert output[output.index("how many?") : output.index("MLflow  ")] in again
    shutil.rmtree(bench)  # a report is made of MLflow alone, by the metrics of the one before
    table = again[again.index("Table 8") : again.index("MLflow  ")]
    assert here("report", "halves.py") == (0, table)
    assert "ours, held-out nDCG@10 %" in here("report", "halves.py", "--metric", "heldout")[1]
    code, other = here("halves.py", "--store", "store", "--metric", "heldout", "heldout")
    assert code == 2 and "--metric is 'heldout heldout'; allowed is each once" in other
    code, other = here("halves.py", "--store", "store", "--metric", "nothing")
    assert code == 2 and "--metric is 'nothing'; allowed are heldout, mteb-en" in other


def test_a_tracking_server_that_is_away_is_told_before_training(workplace, here):
    code, output = here(
        "micro.py", "--store", "store", "--tracking-uri", "http://127.0.0.1:9", "--output", "none"
    )
    assert code == 1
    assert "error: an ablation needs MLflow from its start: MLflow at http://127.0.0.1:9" in output
    assert not (workplace / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "there is no ablation 'nope'; there are alpha, batch_size, datasets"),
        ([], "one ablation is needed"),
        (["alpha", "loss"], "one ablation is needed"),
        (["alpha", "--profile", "desk"], "--profile is 'desk'; allowed are laptop, warm, paper"),
        (["alpha", "--profile", "paper"], "--profile paper needs --store"),
        (["alpha", "--seeds", "0"], "--seeds is 0; allowed is at least 1"),
        (["alpha", "--metric-length", "-1"], "--metric-length is -1; allowed is a number of tokens"),
        (["alpha", "--metric-length", "9"], "--metric-length is of a benchmark"),
        (["alpha", "--tracking-uri", "mlruns"], "--tracking-uri is 'mlruns'"),
        (["empty.py"], "ABLATION is not defined there"),
        (["report", "alpha"], "MLflow has no run of ablation alpha with profile laptop"),
        (["alpha", "--store", "missing"], "missing: the pair store is missing"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message, tmp_path, tiny_store, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("gte_ray.ablation.command.start_ray", lambda *_: pytest.fail("Ray was started"))
    (tmp_path / "empty.py").write_text("")
    if "--store" not in arguments and "paper" not in arguments:
        arguments = [*arguments, "--store", tiny_store]
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: main(RUN.parent))
    assert stop.value.code in (1, 2)
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("*.db"))


@pytest.mark.parametrize("builtin", [False, True])
def test_the_list_names_all_with_their_trials(builtin, tiny_store, tmp_path, monkeypatch, capsys):
    """Of the built-in corpus too, once it is there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    if builtin:
        shutil.copytree(tiny_store, BUILTIN_STORE)
    monkeypatch.setattr(sys, "argv", ["run.py", "--list", *([] if builtin else ["--store", tiny_store])])
    main(RUN.parent)
    lines = capsys.readouterr().out.splitlines()
    (alpha,) = [line for line in lines if line.strip().startswith("alpha")]
    assert "Table 10" in alpha
    assert " 4 " in alpha


def test_the_list_needs_no_store(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["run.py", "--list", "--profile", "paper"])
    main(RUN.parent)
    said = capsys.readouterr().out
    assert "alpha" in said and "give --store" in said
