"""The held-out pairs of a store as a benchmark: always there, on any machine."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from gte_ray import storage, weights
from gte_ray.benchmark.result import Result, Scoring
from gte_ray.data.sort import digest
from gte_ray.data.store import open_store
from gte_ray.data.tasks import run_actors
from gte_ray.evaluation.bm25 import BM25, evaluate_bm25
from gte_ray.evaluation.heldout import evaluate
from gte_ray.model.load import load_model


@dataclass(frozen=True)
class HeldOutScoring:
    """What an actor needs to know."""

    store: str
    limit: int
    """Most held-out pairs of a source."""
    scoring: Scoring


def score_held_out(
    held_out: HeldOutScoring, models: Sequence[str], on_result: Callable[[Result, bool], None]
) -> list[Result]:
    """The results of all models on all sources, named as tasks; those of an earlier call are not made again."""
    store, scoring = open_store(held_out.store), held_out.scoring
    results, units = [], []
    for model in models:
        identity = BM25 if model == BM25 else weights.identity(model)
        path = storage.join(
            scoring.output, digest(identity), f"heldout-{digest(store.fingerprint, held_out.limit)}.json"
        )
        if storage.exists(path):
            for row in storage.read_json(path):
                results.append(Result(**{**row, "model": model}))
                on_result(results[-1], True)
        else:
            units.append([model, path])
    for done in run_actors(units, HeldOutScorer, held_out, **scoring.pool):
        results.append(Result(**done))
        on_result(results[-1], False)
    return results


class HeldOutScorer:
    """An actor: a unit [model, path of the results] to a result for each source."""

    def __init__(self, held_out: HeldOutScoring):
        torch.set_num_threads(held_out.scoring.threads)
        self.held_out = held_out
        self.store = open_store(held_out.store, check=False)

    def __call__(self, unit: list[str]) -> Iterator[dict]:
        name, path = unit
        scoring, limit = self.held_out.scoring, self.held_out.limit
        if name == BM25:
            scores = evaluate_bm25(self.store, limit)
        else:
            model = load_model(name, scoring.device, half=scoring.gpu)
            scores = evaluate(self.store, lambda texts: model.embed(texts, scoring.micro_batch_tokens), limit)
        rows = [
            {"model": name, "task": row.source, "category": "Retrieval", "scores": {"main": row.ndcg_at_10},
             "error": ""}
            for row in scores
        ]  # fmt: skip
        storage.write_json(path, rows)
        yield from rows
