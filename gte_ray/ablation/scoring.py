"""Score the models that a study trained on the benchmark that is its metric."""

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING

from gte_ray.ablation.metric import Metric
from gte_ray.ablation.records import Records
from gte_ray.ablation.trials import Trial
from gte_ray.config import Config
from gte_ray.errors import RunError, UsageError
from gte_ray.evaluation.benchmark_names import load_benchmark
from gte_ray.evaluation.scoreboard import scoreboard
from gte_ray.evaluation.task_results import Scoring, TaskResult
from gte_ray.runs.checkpoint_model import Chosen, export_checkpoint
from gte_ray.runs.display import Display
from gte_ray.runtime import storage
from gte_ray.runtime.pool import Pool
from gte_ray.tracking.keys import Keys

if TYPE_CHECKING:
    from gte_ray.evaluation.mteb.benchmarks import Benchmark


def score_trials(
    trials: Sequence[Trial], metric: Metric, records: Records, parent: str, display: Display
) -> None:
    """Scores the model of each trial that has no score yet, and logs the scores to its run in MLflow.

    Results of tasks are kept in the runs' output, so what was scored is not scored again. A task that fails is told, and
    its row has no score. Ray must be initialised.
    """
    children = records.children(parent)
    waiting = []
    for trial in trials:
        child = children.get(trial.fingerprint)
        if child is None or records.error(child):
            continue
        if "mean" not in records.scores(child, trial.step, metric):
            waiting.append((trial, child.info.run_id))
    if not waiting:
        return
    models = {trial.label: _model(trial, display) for trial, _ in waiting}
    suite = load_benchmark("--metric", metric.benchmark)
    scored = _score(
        [model for model in models.values() if model], metric, suite, waiting[0][0].run.config, display
    )
    for trial, run_id in waiting:
        own = [result for result in scored if result.model == models[trial.label]]
        if not own:
            continue
        (row, *_) = scoreboard(suite.name, own, "main", (), suite.by_category).rows
        if isfinite(row.average):
            values = {f"{metric.parts}/{name}": score / 100 for name, score in row.scores.items()}
            records.log(run_id, trial.step, Keys().keyed({**values, metric.mean: row.average / 100}))


def _model(trial: Trial, display: Display) -> str:
    """The folder of the model after the trial's steps; empty if there is none."""
    if trial.step == trial.run.config.training.steps:
        return trial.run.model_folder
    try:
        return export_checkpoint(trial.run.folder, "", Chosen(trial.step)).folder
    except (RunError, UsageError) as error:
        display.warn(f"{trial.label}: {error}")
        return ""


def _score(
    models: Sequence[str], metric: Metric, suite: "Benchmark", config: Config, display: Display
) -> list[TaskResult]:
    from gte_ray.evaluation.mteb.score import score

    hardware = config.hardware
    scoring = Scoring(
        metric.benchmark,
        storage.absolute(storage.join(config.run.output, "evaluations")),
        Pool(hardware.workers.most, hardware.gpu, hardware.threads),
        hardware.micro_batch_tokens,
        metric.max_length,
    )
    display.say(f"scoring {len(set(models))} model(s) on {suite.name}, {len(suite.tasks)} task(s)")

    def on_result(result: TaskResult, cached: bool) -> None:
        if result.error:
            display.warn(result.error)

    return score(suite, scoring, list(dict.fromkeys(models)), on_result)
