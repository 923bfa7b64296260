"""How much of what is held out was trained on: against sets of texts."""

import json
import random

import pytest

from gte_ray.config.typed import read
from gte_ray.data.prepare_store import prepare
from gte_ray.data.store import open_store
from gte_ray.evaluation import seen as module
from gte_ray.evaluation.heldout import SourceScores
from gte_ray.evaluation.scores import Scores
from gte_ray.evaluation.seen import Seen, seen
from gte_ray.readers.spec import SourceSpec
from tests.data.conftest import write_lines


@pytest.fixture(scope="module")
def store(ray_local, tmp_path_factory):
    """`many`: 20 queries for each document, so all documents are seen; `some`: a few share one; `own`: none does."""
    folder, rng = tmp_path_factory.mktemp("seen"), random.Random(0)
    pairs = {
        "many": [[f"question {i}", f"answer {i % 40}"] for i in range(800)],
        "some": [[f"other {i}", f"text {rng.randrange(300)}"] for i in range(400)],
        "own": [[f"third {i}", f"alone {i}"] for i in range(300)],
    }
    sources = [
        SourceSpec(n, str(write_lines(folder / f"{n}.jsonl", rows)), "others") for n, rows in pairs.items()
    ]
    return open_store(prepare(str(folder / "store"), sources, held_out_share=0.2).uri)


def by_sets(store, name, trained, limit):
    texts = set()
    for source in trained:
        texts |= set(
            store.read_rows(source, 0, store.source(source).rows, ["document"])["document"].to_pylist()
        )
    held_out = store.read_held_out(name, limit)["document"].to_pylist()
    different = set(held_out)
    return (
        sum(d in texts for d in different) / len(different),
        sum(d in texts for d in held_out) / len(held_out),
    )


@pytest.mark.parametrize("trained", [("many", "some", "own"), ("some",)])
@pytest.mark.parametrize("limit", [1_000, 17])
def test_shares_are_those_of_equal_texts(store, monkeypatch, trained, limit):
    monkeypatch.setattr(module, "CHUNK_ROWS", 100)
    found = {
        row.source: (row.documents, row.pairs) for row in seen(store, ("many", "some", "own"), trained, limit)
    }
    assert found == {name: pytest.approx(by_sets(store, name, trained, limit)) for name in found}
    assert list(found) == ["many", "some", "own"]
    if "many" in trained:
        assert found["many"] == (1.0, 1.0) and found["own"] == (0.0, 0.0) and 0 < found["some"][0] < 1


def test_nothing_held_out():
    assert seen(None, (), (), 0) == ()


def test_results_and_mlflow_have_them():
    row = SourceScores(0.5, 0.5, 0.5, 0.5, "a", 3, 2)
    scores = Scores((row,), (row,), (row,), seen=(Seen("a", 0.25, 0.5),))
    assert read(Scores, json.loads(json.dumps(scores.to_dict()))) == scores
    ((step, metrics),) = scores.metrics(7)
    assert step == 7
    assert (metrics["seen_documents/a"], metrics["seen_pairs/a"]) == (0.25, 0.5)
    old = {name: value for name, value in scores.to_dict().items() if name != "seen"}
    assert read(Scores, old).seen == ()
