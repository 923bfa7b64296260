"""What a model's folder says counts in its scores, and in which of them are kept."""

import json
from dataclasses import replace
from pathlib import Path

import mteb
import numpy as np
import pytest
from mteb.mocks import mock_tasks
from sentence_transformers import SentenceTransformer

from gte_ray.data.store import open_store
from gte_ray.errors import RunError
from gte_ray.evaluation import task_results
from gte_ray.evaluation.heldout import score_source, source_task
from gte_ray.evaluation.heldout_benchmark import HeldOutScoring, score_held_out
from gte_ray.evaluation.mteb import benchmarks, score
from gte_ray.evaluation.mteb.benchmarks import Benchmark
from gte_ray.model.load import check_model
from gte_ray.pretrained.prompts import GivenPrompts
from gte_ray.runtime.pool import Pool
from tests.evaluation.mteb.conftest import MINILM, scoring
from tests.evaluation.mteb.tasks import CLASSES
from tests.model.folders import copy as copy_model
from tests.model.folders import edit


@pytest.fixture
def units(monkeypatch):
    """What actors were given, which run in this process."""
    found: list[list[str]] = []

    def run_actors(todo, kind, argument, pool):
        found.extend(todo)
        actor = kind(argument)
        return (row for unit in todo for row in actor(unit))

    monkeypatch.setattr(task_results, "run_actors", run_actors)
    return found


@pytest.fixture
def run(units, tmp_path, monkeypatch):
    """Scores models on tasks of mteb: results by model and task."""

    def run(found, models):
        benchmark = Benchmark("local", found)
        monkeypatch.setitem(benchmarks.BENCHMARKS, "local", lambda: benchmark)
        results = score.score(benchmark, scoring(tmp_path, "local"), models, lambda result, cached: None)
        return {(found.model, found.task): found for found in results}

    return run


def test_another_setting_of_a_model_is_scored_anew_and_the_same_model_once(units, tiny_store, tmp_path):
    mean = copy_model(MINILM, tmp_path / "mean")
    cls = edit(copy_model(MINILM, tmp_path / "cls"), "1_Pooling/config.json", pooling_mode="cls")
    twin = copy_model(MINILM, tmp_path / "twin")
    held_out = HeldOutScoring(tiny_store, 40, scoring(tmp_path, "heldout"))
    told: list[tuple[str, bool]] = []

    def table(*models):
        told.clear()
        found = score_held_out(held_out, models, lambda result, cached: told.append((result.model, cached)))
        return {(result.model, result.task): result.scores["main"] for result in found}

    first = table(mean, cls, twin)
    assert table(mean, cls, twin) == first
    assert all(cached for _, cached in told) and len(units) == 2 * len(first) / 3
    names = {task for _, task in first}
    assert all(first[mean, task] == first[twin, task] for task in names)
    assert any(first[mean, task] != first[cls, task] for task in names)
    edit(mean, "1_Pooling/config.json", pooling_mode="cls")  # mended where it is
    assert all(table(mean)[mean, task] == first[cls, task] for task in names)


def test_one_model_under_two_names_is_computed_once(run, units, tmp_path):
    twin = copy_model(MINILM, tmp_path / "twin")
    results = run((mock_tasks.MockSTSTask(),), (MINILM, twin))
    assert len(units) == 1
    assert results[twin, "MockSTSTask"] == replace(results[MINILM, "MockSTSTask"], model=twin)


def test_scores_in_half_precision_are_kept_apart(units, tmp_path):
    for gpu in (False, True):
        where = replace(scoring(tmp_path, "x"), pool=Pool(gpu=gpu))
        task_results.cached_or_scored(
            [task_results.Job(MINILM, "a", "a")], lambda _: lambda unit: (), None, where, lambda *_: None
        )
    assert len({path for _, _, path in units}) == 2


def test_texts_may_be_cut_elsewhere_than_the_folder_says(units, tiny_store, tmp_path):
    """As in a copy of the folder that says so; scores are kept apart."""
    short = copy_model(MINILM, tmp_path / "short")
    edit(short, "sentence_bert_config.json", max_seq_length=4)
    usual = HeldOutScoring(tiny_store, 40, scoring(tmp_path, "heldout"))
    cut = replace(usual, scoring=replace(usual.scoring, max_length=4))

    def table(held_out, model):
        return {row.task: row.scores["main"] for row in score_held_out(held_out, [model], lambda *_: None)}

    whole, count = table(usual, MINILM), len(units)
    assert table(cut, MINILM) == table(usual, short) != whole
    assert len(units) == 3 * count
    assert table(usual, MINILM) == whole and len(units) == 3 * count
    with pytest.raises(RunError, match=r"max_length is 5000, but the model .* has 512 positions for tokens"):
        check_model(MINILM, 5_000)


def test_prompts_may_be_given_in_place_of_the_folders(units, tiny_store, tmp_path):
    """As in a copy of the folder that has them; scores are kept apart."""
    given = GivenPrompts("river: ", "stone of: ")
    with_prompts = copy_model(MINILM, tmp_path / "prompts")
    named = {"query": "river: ", "document": "stone of: "}
    edit(with_prompts, "config_sentence_transformers.json", prompts=named)
    usual = HeldOutScoring(tiny_store, 40, scoring(tmp_path, "heldout"))
    asked = replace(usual, scoring=replace(usual.scoring, prompts=given))

    def table(held_out, model):
        return {row.task: row.scores["main"] for row in score_held_out(held_out, [model], lambda *_: None)}

    whole, count = table(usual, MINILM), len(units)
    assert table(asked, MINILM) == table(usual, with_prompts) != whole
    assert len(units) == 3 * count
    with pytest.raises(
        RunError, match=r"max_length is 5, and its prompt 'stone of: ' would leave no token of it"
    ):
        check_model(MINILM, 5, prompts=given)


PROMPTS = {"query": "river: ", "document": "stone of: ", "STS": "sky ", "Clustering": "cluster of "}


def test_prompts_are_those_that_mteb_gives_to_sentence_transformers(run, tmp_path):
    """By the task's type, by query and document, and none."""
    own = edit(copy_model(MINILM, tmp_path / "own"), "config_sentence_transformers.json", prompts=PROMPTS)
    results = run(tuple(kind() for kind in CLASSES), (own,))
    theirs = SentenceTransformer(own, device="cpu")
    for kind in CLASSES:
        task = kind()
        expected = mteb.evaluate(theirs, task, cache=None, co2_tracker=False, show_progress_bar=False)
        found = results[own, task.metadata.name].scores["main"]
        assert found == pytest.approx(expected.task_results[0].get_score(), abs=1e-4), task.metadata.name


def test_held_out_queries_and_documents_have_their_prompts_and_are_compared_by_cosine(
    units, tiny_store, tmp_path
):
    own = copy_model(MINILM, tmp_path / "own")
    edit(own, "config_sentence_transformers.json", prompts={"query": "river: ", "document": "stone of: "})
    modules = json.loads(Path(own, "modules.json").read_text())
    Path(own, "modules.json").write_text(json.dumps(modules[:2]))  # no norm
    held_out = HeldOutScoring(tiny_store, 40, scoring(tmp_path, "heldout"))
    found = {r.task: r.scores["main"] for r in score_held_out(held_out, [own], lambda result, cached: None)}
    theirs, store = SentenceTransformer(own, device="cpu"), open_store(tiny_store)

    def unit(vectors):
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    for source, found_score in found.items():
        expected = score_source(
            source_task(store, source, 40),
            lambda texts: unit(theirs.encode_query(texts)),
            lambda texts: unit(theirs.encode_document(texts)),
        )
        assert found_score == pytest.approx(expected.ndcg_at_10, abs=1e-6)
