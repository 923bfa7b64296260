"""The paper's tables add up, so that no figure was mistyped."""

import mteb
import numpy as np
import pytest

from gte_ray.evaluation.mteb import paper
from gte_ray.evaluation.mteb.benchmarks import benchmark


def test_table_6_averages_over_56_tasks():
    counts = dict(zip(paper.CATEGORIES, (12, 11, 3, 4, 15, 10, 1), strict=True))
    for row in paper.MTEB:
        found = sum(counts[name] * score for name, score in row.scores.items()) / 56
        assert found == pytest.approx(row.average, abs=0.16)  # its categories are rounded, and so are theirs


@pytest.mark.parametrize("rows", [paper.BEIR, paper.CODESEARCHNET, paper.SST2], ids=["BEIR", "code", "SST-2"])
def test_other_tables_average_over_their_columns(rows):
    for row in rows:
        assert np.mean(list(row.scores.values())) == pytest.approx(row.average, abs=0.06)


def test_mteb_en_has_the_papers_56_tasks():
    found = benchmark("mteb-en")
    kinds = [task.metadata.type for task in found.tasks]
    assert [kinds.count(name) for name in paper.CATEGORIES] == [12, 11, 3, 4, 15, 10, 1]


def test_every_benchmark_has_the_tasks_that_the_paper_scored():
    for name in ("beir", "codesearchnet", "sst2"):
        found = benchmark(name)
        tasks = {task.metadata.name for task in found.tasks}
        assert {task for row in found.paper for task in row.scores} == tasks
    assert set(paper.BEIR_TASKS) <= {task.metadata.name for task in mteb.get_benchmark("BEIR").tasks}
