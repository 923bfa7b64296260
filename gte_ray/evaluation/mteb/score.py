"""Scores tasks in Ray actors, each result kept as soon as it is there."""

import importlib.metadata
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict
from operator import itemgetter
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import mteb
import numpy as np
import torch

from gte_ray.data.hashing import digest
from gte_ray.evaluation.mteb.adapters import MtebBm25, MtebEncoder
from gte_ray.evaluation.mteb.benchmarks import Benchmark, benchmark
from gte_ray.evaluation.mteb.example_scores import PREDICTED, pairs_of, scores_of_examples
from gte_ray.evaluation.mteb.query_scores import Groups, checked, is_mean, recorded
from gte_ray.evaluation.statistics import STATISTICS
from gte_ray.evaluation.task_results import (
    SPREAD,
    Job,
    OnResult,
    Pairs,
    Scoring,
    TaskResult,
    Unit,
    cached_or_scored,
)
from gte_ray.retrieval.bm25 import BM25
from gte_ray.runtime import storage

BM25_TYPES = ("Retrieval", "Reranking")
"""Types of task that BM25 can be scored on."""


def score(suite: Benchmark, scoring: Scoring, models: Sequence[str], on_result: OnResult) -> list[TaskResult]:
    """The results of all models on all tasks of `suite`, which `scoring` names; in the order of its tasks.

    Ray must be initialised. A task that fails is a result with an error, and the others go on.
    """
    jobs = [
        Job(model, task.metadata.name, _file_name(task, suite))
        for task in sorted(suite.tasks, key=_size, reverse=True)
        for model in models
        if model != BM25 or task.metadata.type in BM25_TYPES
    ]
    results = cached_or_scored(jobs, Scorer, scoring, scoring, on_result)
    order = {task.metadata.name: number for number, task in enumerate(suite.tasks)}
    return sorted(results, key=lambda result: order[result.task])


class Scorer:
    """An actor that holds a model."""

    def __init__(self, scoring: Scoring):
        torch.set_num_threads(scoring.pool.threads)
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
        logging.getLogger("mteb").setLevel(logging.ERROR)
        self.scoring = scoring
        suite = benchmark(scoring.benchmark)
        self.tasks, self.metrics = {task.metadata.name: task for task in suite.tasks}, suite.metrics
        self.name = ""
        self.model: Any = None

    def __call__(self, unit: Unit) -> Iterator[TaskResult]:
        name, task_name, path = unit
        # A task draws by a state that goes on from one model to the next: each gets the first one.
        task = deepcopy(self.tasks[task_name])
        self._load(name)
        scores: dict[str, float] = {}
        error = ""
        queries: Groups = {}
        pairs: Pairs = {}
        try:
            with TemporaryDirectory() as folder:
                outcome, groups = self._evaluate(task, folder)
                names = {"main": "main_score", **{metric: metric for metric in self.metrics}}
                scores = {
                    key: float(outcome.get_score(getter=itemgetter(name))) for key, name in names.items()
                }
                queries, pairs = _examples(task, outcome, groups, folder, scores["main"])
            if queries and getattr(task, "drawn", False):
                scores[SPREAD] = stdev(fmean(draw.values()) for draw in queries.values())
        except Exception as failure:  # whatever a hub, a file or a task throws: the other tasks go on
            error = failure_sentence(task_name, task, failure)
        finally:
            if task.data_loaded:
                task.unload_data()
        result = TaskResult(name, task_name, task.metadata.type, scores, error, queries, pairs)
        if not error:
            storage.write_json(path, [asdict(result)])
        yield result

    def _evaluate(self, task: Any, folder: str) -> tuple[Any, Groups]:
        """mteb's result, and the scores by query; predictions of tasks without queries go to `folder`."""
        predicted = folder if task.metadata.type in PREDICTED else None
        if predicted and not task.data_loaded:
            task.load_data()  # which mteb otherwise lets go of
        with warnings.catch_warnings(), recorded(task) as groups:
            warnings.simplefilter("ignore")
            (outcome,) = mteb.evaluate(
                self.model,
                task,
                cache=None,
                co2_tracker=False,
                show_progress_bar=False,
                prediction_folder=predicted,
            ).task_results
        return outcome, groups

    def _load(self, name: str) -> None:
        if self.name == name:
            return
        if name == BM25:
            self.model = MtebBm25()
        else:
            self.model = MtebEncoder(self.scoring.load(name), self.scoring.micro_batch_tokens)
        self.name = name


def _examples(
    task: Any, outcome: Any, groups: Groups, folder: str, main_score: float
) -> tuple[Groups, Pairs]:
    """What the main score is made of, which is lacking where mteb's predictions are of another form."""
    try:
        queries = checked(groups or scores_of_examples(task, outcome, folder), main_score)
        return queries, _checked_pairs(pairs_of(task, folder), main_score, task)
    except (ValueError, IndexError, KeyError, TypeError):
        return {}, {}


def _checked_pairs(pairs: Pairs, main_score: float, task: Any) -> Pairs:
    """`pairs` if the task's main score is made of them."""
    statistic = STATISTICS.get(task.metadata.type)
    if statistic is None:
        return {}
    scores = [statistic(np.ones((1, len(both[0]))), *map(np.array, both))[0] for both in pairs.values()]
    return pairs if is_mean(scores, main_score) else {}


def failure_sentence(name: str, task: Any, error: Exception) -> str:
    """Why a task cannot be scored, and where its data are looked for."""
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    data = task.metadata.dataset["path"]
    if os.path.exists(data):
        return f"{name}: {reason}; its data are in {data}"
    return f"{name}: {reason}; its data are {data}: set HF_HOME to a folder that holds them, or HF_ENDPOINT to a mirror"


def _file_name(task: Any, suite: Benchmark) -> str:
    """Of a result: by the task with its revision, the metrics, and mteb's version."""
    revision = task.metadata.dataset["revision"]
    version = importlib.metadata.version("mteb")
    key = digest(revision, suite.metrics, version, sorted(task.hf_subsets), list(task.eval_splits))
    return f"{task.metadata.name}-{key}"


def _size(task: Any) -> int:
    """Samples of a task as far as mteb knows them: long ones begin first."""
    samples = task.metadata.n_samples or {}
    return sum(samples.values())
