"""What each example of a task adds to its main score, of tasks without queries: by what mteb predicts and keeps."""

import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from gte_ray.evaluation.mteb.query_scores import Groups
from gte_ray.evaluation.statistics import average_precision, spearman
from gte_ray.evaluation.task_results import Pairs

PREDICTED = ("Classification", "PairClassification", "STS", "Summarization")
"""Types of task whose examples are told by mteb's predictions."""
_MEASURES = {
    "similarity_scores": 1,
    "cosine_scores": 1,
    "dot_scores": 1,
    "manhattan_distances": -1,
    "euclidean_distances": -1,
}
"""mteb's similarities of pairs, and -1 for distances."""


def scores_of_examples(task: Any, outcome: Any, folder: str) -> Groups:
    """The main score of each example whose mean is the task's, by subset and split: of a text, or of a set to cluster.

    `folder` has mteb's predictions, and `task` its data.
    """
    kind, groups = task.metadata.type, {}
    if kind == "Clustering":
        return _set_scores(outcome)
    for name, predicted, rows in _predictions(task, folder):
        if kind == "Classification" and task.metadata.main_score == "accuracy":
            right = np.array(predicted) == np.array(rows[task.label_column_name])
            groups[name] = {str(number): float(share) for number, share in enumerate(right.mean(0))}
        elif kind == "Summarization":
            texts = zip(predicted["human_scores"], predicted["cosine_scores"], strict=True)
            groups[name] = {str(number): _correlation(*both) for number, both in enumerate(texts)}
    return groups


def pairs_of(task: Any, folder: str) -> Pairs:
    """What is true of each pair, and its similarity, of a task whose main score is of all pairs together.

    mteb takes the best of several similarities for pairs that match or do not: here it is the one that is best of all.
    """
    kind, pairs = task.metadata.type, {}
    for name, predicted, rows in _predictions(task, folder):
        if kind == "STS":
            pairs[name] = [list(map(float, rows["score"])), predicted["cosine_scores"]]
        elif kind == "PairClassification":
            gold = _unpacked(rows[task.label_column_name])
            signed = [sign * np.array(predicted[measure]) for measure, sign in _MEASURES.items()]
            once = np.ones((1, len(gold)))
            best = max(
                signed, key=lambda similarities: average_precision(once, np.array(gold), similarities)[0]
            )
            pairs[name] = [list(map(float, gold)), best.tolist()]
    return pairs


def _predictions(task: Any, folder: str) -> Iterator[tuple[str, Any, Any]]:
    """The subsets and splits of a task: name, predictions, rows."""
    path = os.path.join(folder, task.prediction_file_name)
    if task.metadata.type not in PREDICTED or not os.path.exists(path):
        return
    with open(path, encoding="utf-8") as file:
        found = json.load(file)
    for subset, splits in found.items():
        if subset == "mteb_model_meta":
            continue
        data = task.dataset.get(subset, task.dataset)
        yield from ((f"{subset}/{split}", predicted, data[split]) for split, predicted in splits.items())


def _correlation(gold: list[float], similarities: list[float]) -> float:
    return float(spearman(np.ones((1, len(gold))), np.array(gold), np.array(similarities))[0])


def _unpacked(labels: Any) -> list[Any]:
    """Older data sets of pairs are one row that holds all."""
    return list(labels[0] if len(labels) == 1 and isinstance(labels[0], list) else labels)


def _set_scores(outcome: Any) -> Groups:
    """Of sets of texts that are others each. (Sets that mteb draws from the same texts are no examples of these.)"""
    groups: Groups = {}
    for split, subsets in outcome.scores.items():
        for scores in subsets:
            measures = scores.get("v_measures")
            values = measures if isinstance(measures, list) else []
            groups[f"{scores['hf_subset']}/{split}"] = {
                str(n): float(value) for n, value in enumerate(values)
            }
    return groups
