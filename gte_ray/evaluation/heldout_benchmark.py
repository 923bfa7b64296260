"""The held-out pairs of a store as a benchmark: always there, on any machine."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import torch

from gte_ray.data.hashing import digest
from gte_ray.data.store import open_store
from gte_ray.evaluation.heldout import bm25_ranks, model_ranks, skipped_sources, source_task
from gte_ray.evaluation.task_results import Job, OnResult, Scoring, TaskResult, Unit, cached_or_scored
from gte_ray.model.load import TextModel
from gte_ray.retrieval.bm25 import BM25
from gte_ray.runtime import storage


@dataclass(frozen=True)
class HeldOutScoring:
    """What an actor needs to know."""

    store: str
    limit: int
    """Most held-out pairs of a source."""
    scoring: Scoring


def score_held_out(held_out: HeldOutScoring, models: Sequence[str], on_result: OnResult) -> list[TaskResult]:
    """The results of all models on all sources, named as tasks; Ray must be initialised."""
    store, limit = open_store(held_out.store), held_out.limit
    name = f"heldout-{digest(store.fingerprint, limit)}"
    skipped = skipped_sources(store, limit)
    sources = [info.name for info in store.manifest.sources if info.name not in skipped]
    jobs = [Job(model, source, f"{name}/{source}") for model in models for source in sources]
    return cached_or_scored(jobs, HeldOutScorer, held_out, held_out.scoring, on_result)


class HeldOutScorer:
    """An actor that holds a model; tasks are sources."""

    def __init__(self, held_out: HeldOutScoring):
        torch.set_num_threads(held_out.scoring.pool.threads)
        self.held_out = held_out
        self.store = open_store(held_out.store, check=False)
        self.name = ""
        self.model: TextModel | None = None

    def __call__(self, unit: Unit) -> Iterator[TaskResult]:
        name, source, path = unit
        scoring = self.held_out.scoring
        task = source_task(self.store, source, self.held_out.limit)
        if name == BM25:
            ranks = bm25_ranks(task)
        else:
            model = self._load(name)
            budget = scoring.micro_batch_tokens
            ranks = model_ranks(
                task, lambda texts: model.queries(texts, budget), lambda texts: model.documents(texts, budget)
            )
        scores = {"main": task.scores(ranks).ndcg_at_10}
        result = TaskResult(name, source, "Retrieval", scores, queries={"": task.query_scores(ranks)})
        storage.write_json(path, [asdict(result)])
        yield result

    def _load(self, name: str) -> TextModel:
        if self.model is None or self.name != name:
            self.name, self.model = name, self.held_out.scoring.load(name)
        return self.model
