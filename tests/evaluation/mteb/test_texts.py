"""The texts of benchmarks that a store is to be without: those of mteb's tasks, by name."""

import json
from pathlib import Path

import pytest
from mteb.mocks import mock_tasks

from gte_ray.data.prepare_store import prepare
from gte_ray.errors import RunError, UsageError
from gte_ray.evaluation import benchmark_names
from gte_ray.evaluation.benchmark_names import as_files
from gte_ray.evaluation.mteb import benchmarks, texts
from gte_ray.evaluation.mteb.benchmarks import Benchmark
from gte_ray.readers.spec import SourceSpec
from tests.data.conftest import make_pairs, write_lines
from tests.data.preparing import pairs_of, rows_of
from tests.evaluation.mteb.tasks import CLASSES

FLAG = "--decontaminate"


def ignore(phase, count):
    pass


def words_in(value) -> set[str]:
    """All strings of an mteb dataset but its keys, hashes and labels."""
    if isinstance(value, str):
        return {value} if " " in value else set()
    if hasattr(value, "column_names") and not isinstance(value, dict):
        value = {name: list(value[name]) for name in value.column_names if name not in ("id", "label")}
    if isinstance(value, dict):
        value = [part for name, part in value.items() if name not in ("train", "relevant_docs", "top_ranked")]
    return set().union(*map(words_in, value)) if isinstance(value, list) else set()


@pytest.mark.parametrize("kind", CLASSES)
def test_texts_are_those_that_a_task_is_scored_with(kind, tmp_path):
    (path,) = texts.write_texts([kind()], str(tmp_path), ignore)
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    task = kind()
    task.load_data()
    expected = words_in(dict(task.dataset))
    assert {text for row in rows for text in row.values()} == expected
    assert len(expected) >= 2 and path.endswith(f"{task.metadata.name}.jsonl")


def test_a_store_is_without_the_texts_of_a_task_and_of_a_benchmark(ray_local, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark_names, "BENCHMARK_WORDS", ("heldout", "local"))
    local = Benchmark("local", (mock_tasks.MockSTSTask(),))
    monkeypatch.setitem(benchmarks.BENCHMARKS, "local", lambda: local)
    monkeypatch.setattr(benchmarks.mteb, "get_task", {"Known": mock_tasks.MockRetrievalTask()}.__getitem__)
    pairs = make_pairs(40)
    sts, retrieval = mock_tasks.MockSTSTask(), mock_tasks.MockRetrievalTask()
    for task in (sts, retrieval):
        task.load_data()
    inside = [
        ("a query", sts.dataset["test"]["sentence2"][0]),
        (retrieval.dataset["default"]["test"]["queries"]["text"][1].upper(), "a document"),
    ]
    spec = SourceSpec("s", str(write_lines(tmp_path / "x.jsonl", [*map(list, [*pairs, *inside])])), "others")
    mine = write_lines(tmp_path / "mine.jsonl", [{"text": pairs[0][1]}])
    folder = tmp_path / "texts"
    with as_files(FLAG, ["local", "Known", str(mine)], str(folder), ignore) as paths:
        assert paths[0] == str(mine) and len(list(folder.iterdir())) == 2
        store = prepare(str(tmp_path / "store"), [spec], held_out_share=0, decontaminate=paths)
    assert not folder.exists()
    assert pairs_of(rows_of(store, "s")) == set(pairs) - {pairs[0]}
    assert store.source("s").dropped == {"in a benchmark": 3}


def test_names_of_nothing_and_data_that_cannot_be_had_are_told(tmp_path, monkeypatch):
    with (
        pytest.raises(
            UsageError, match=r"--decontaminate Nothing: there is no such file or folder; allowed are also"
        ),
        as_files(FLAG, ["Nothing"], str(tmp_path), ignore),
    ):
        pass

    class Away(mock_tasks.MockSTSTask):
        def load_data(self, *_, **__):
            raise ConnectionError("the hub is away")

    monkeypatch.setattr(benchmarks.mteb, "get_task", lambda name: Away())
    with (
        pytest.raises(RunError, match=r"MockSTSTask: the hub is away; its data are .*HF_HOME"),
        as_files(FLAG, ["Away"], str(tmp_path), ignore),
    ):
        pass
    with as_files(FLAG, ["folder/", "*.jsonl"], str(tmp_path), ignore) as paths:
        assert paths == ["folder/", "*.jsonl"]
