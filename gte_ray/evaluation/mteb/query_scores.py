"""The main score of each query of a retrieval or reranking task, which mteb computes and averages."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any

ROUNDED = 1e-4
"""Difference between mteb's main score, which is rounded, and the mean over queries that are its queries."""
MEASURES = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P", "hit_rate": "success"}
"""mteb's names of metrics, and trec_eval's."""
Groups = dict[str, dict[str, float]]
"""Scores by query, by subset and split: the main score is the mean of their means."""


@contextmanager
def recorded(task: Any) -> Iterator[Groups]:
    """Fills what it yields while mteb scores `task`, or the tasks that it is made of."""
    groups: Groups = {}
    parts = [part for part in getattr(task, "tasks", [task]) if hasattr(part, "task_specific_scores")]
    for part in parts:
        part.task_specific_scores = _recording(part, task.metadata.main_score, groups)
    try:
        yield groups
    finally:
        for part in parts:
            del part.task_specific_scores  # mteb's method again


def checked(groups: Groups, main_score: float) -> Groups:
    """`groups` if their mean is the task's main score; else none, as some tasks make it otherwise."""
    groups = {name: scores for name, scores in groups.items() if scores}
    return groups if is_mean([fmean(scores.values()) for scores in groups.values()], main_score) else {}


def is_mean(scores: Sequence[float], main_score: float) -> bool:
    """Whether the mean of the subsets' scores is the task's main score."""
    return bool(scores) and abs(fmean(scores) - main_score) < ROUNDED


def _recording(part: Any, main_score: str, groups: Groups) -> Any:
    """mteb's hook for scores of a task's own, which is given those of all queries."""
    own = part.task_specific_scores

    def task_specific_scores(
        scores: Mapping[str, Mapping[str, float]], qrels: Any, results: Any, hf_split: str, hf_subset: str
    ) -> dict[str, float]:
        name, _, cut = main_score.partition("_at_")
        found: dict[str, float] = {}
        if name == "mrr" and cut:
            found = {query: _reciprocal_rank(qrels[query], results[query], int(cut)) for query in scores}
        elif name in MEASURES and re.fullmatch(r"\d+", cut):
            found = {query: values[f"{MEASURES[name]}_{cut}"] for query, values in scores.items()}
        groups[f"{part.metadata.name}/{hf_subset}/{hf_split}"] = found
        return own(scores, qrels, results, hf_split=hf_split, hf_subset=hf_subset)

    return task_specific_scores


def _reciprocal_rank(relevant: Mapping[str, int], scores: Mapping[str, float], cut: int) -> float:
    best = sorted(scores, key=lambda document: scores[document], reverse=True)[:cut]
    return next((1 / rank for rank, document in enumerate(best, 1) if relevant.get(document, 0) > 0), 0.0)
