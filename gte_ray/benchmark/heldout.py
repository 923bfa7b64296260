"""The held-out pairs of a store as a benchmark: always there, on any machine."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import torch

from gte_ray import storage
from gte_ray.benchmark.result import OnResult, Result, Scoring, kept_or_made
from gte_ray.data.sort import digest
from gte_ray.data.store import open_store
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


def score_held_out(held_out: HeldOutScoring, models: Sequence[str], on_result: OnResult) -> list[Result]:
    """The results of all models on all sources, named as tasks; Ray must be initialised."""
    name = f"heldout-{digest(open_store(held_out.store).fingerprint, held_out.limit)}"
    jobs = [(model, "heldout", name) for model in models]
    return kept_or_made(jobs, HeldOutScorer, held_out, held_out.scoring, on_result)


class HeldOutScorer:
    """An actor: a unit [model, "heldout", path of the results] to a result for each source."""

    def __init__(self, held_out: HeldOutScoring):
        torch.set_num_threads(held_out.scoring.pool.threads)
        self.held_out = held_out
        self.store = open_store(held_out.store, check=False)

    def __call__(self, unit: list[str]) -> Iterator[dict]:
        name, _, path = unit
        scoring, limit = self.held_out.scoring, self.held_out.limit
        if name == BM25:
            scores = evaluate_bm25(self.store, limit)
        else:
            model = load_model(name, scoring.pool.device, half=scoring.pool.gpu)
            scores = evaluate(self.store, lambda texts: model.embed(texts, scoring.micro_batch_tokens), limit)
        rows = [asdict(Result(name, row.source, "Retrieval", {"main": row.ndcg_at_10})) for row in scores]
        storage.write_json(path, rows)
        yield from rows
