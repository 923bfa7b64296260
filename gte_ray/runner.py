"""One pre-training run from config to scores, followed in MLflow: what the commands and ablations call."""

import os
import shlex
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

from gte_ray import storage
from gte_ray.console import Interruption
from gte_ray.data.ids import unknown_words
from gte_ray.errors import RunError
from gte_ray.evaluation.beside import ScoringBeside
from gte_ray.evaluation.heldout import SourceScores
from gte_ray.evaluation.scores import Scores, named
from gte_ray.finishing import card_of, export_model, score_model
from gte_ray.history import History
from gte_ray.plots import loss_curve, scores_plot
from gte_ray.progress import Display
from gte_ray.run import CONFIG_FILE, RESULTS_FILE, Run, make_stream, public, resolve_tokenizer, run_key
from gte_ray.tracking import TrackedRun, Tracker, unwritten
from gte_ray.train.checkpoints import last_checkpoint, next_step
from gte_ray.train.launch import fit
from gte_ray.train.report import StepReport

HISTORY_FILE = "history.jsonl"
SPOOL = "mlflow-spool.jsonl"
"""What MLflow has not taken yet, in the run's local folder."""


@dataclass(frozen=True)
class Results:
    """What a finished run left."""

    scores: Scores
    model_folder: str
    mlflow_run: str
    """MLflow's id of the run; empty where MLflow could not be reached."""


@dataclass(frozen=True)
class Place:
    """Where MLflow shows a run that is part of something larger."""

    experiment: str
    name: str
    parent_run_id: str
    tags: Mapping[str, str]


def finished(run: Run, display: Display, place: Place | None = None) -> Results | None:
    """The results of an opened run that is done, None for one that is not."""
    path = storage.join(run.folder, RESULTS_FILE)
    if not storage.exists(path):
        return None
    if unwritten(os.path.join(_local_folder(run), SPOOL)):
        # What MLflow has not taken yet is written now.
        left = _track(run, display, place).finish("FINISHED")
        if left:
            display.warn(left)
    saved = storage.read_json(path)
    return Results(Scores.from_dict(saved["scores"]), saved["model_folder"], saved["mlflow_run"])


def execute(
    run: Run,
    display: Display,
    interruption: Interruption,
    place: Place | None = None,
    verbose: bool = False,
) -> Results:
    """Trains the opened `run` from its last checkpoint, exports and scores the model, and records all of it.

    `verbose` lets DeepSpeed, MLflow and Ray write their logs.
    Ray must be initialised. An interrupted run is marked as killed. Raises RunError in one sentence; the last
    good checkpoint stays.
    """
    tracker = _track(run, display, place, verbose)
    interruption.on_interrupt(lambda: tracker.finish("KILLED", timeout_s=5.0))
    try:
        history = History(
            os.path.join(_local_folder(run), HISTORY_FILE),
            storage.join(run.folder, HISTORY_FILE),
            display.warn,
        )
        _log_config(run, tracker)
        stream = make_stream(run, resolve_tokenizer(run))
        for warning in unknown_words(run.store, stream.tokenizer, [source.name for source in stream.sources]):
            display.warn(warning)
        start = next_step(run.folder)

        def on_scores(step: int, rows: tuple[SourceScores, ...]) -> None:
            tracker.log_step(step, named(rows))

        beside = ScoringBeside(run.config, run.folder, stream.tokenizer, start, on_scores)
        with display.training(stream.steps, start) as progress:

            def on_reports(reports: list[StepReport]) -> None:
                progress.show(reports)
                history.append(reports)
                for report in reports:
                    tracker.log_step(report.step, step_metrics(report))
                beside.look(reports[-1].step + 1)

            if start < stream.steps:
                outcome = fit(run.config, stream, run.folder, on_reports, verbose)
                history.keep()
                if outcome.diverged:
                    raise RunError(outcome.diverged)
        last = last_checkpoint(run.folder)
        if last is None:
            raise RunError(f"{run.folder}: no checkpoint is left to export")
        card = card_of(run, command_line())
        display.say("exporting the model")
        export_model(run, stream.tokenizer, last.checkpoint, card)
        display.say("scoring it on held-out pairs")
        scores = score_model(run, stream.tokenizer, last.checkpoint, card, beside)
        _plot(run, scores, history, tracker)
        return _record(run, scores, tracker, display)
    except Exception as error:
        if not interruption.happened.is_set():
            tracker.set_tags({"gte_ray.error": error})
            tracker.finish("FAILED", timeout_s=5.0)
        raise


def step_metrics(report: StepReport) -> dict[str, float]:
    """What MLflow keeps of a step, by the names that it shows."""
    m = report.metrics
    seconds = max(report.seconds, 1e-9)
    return {
        "loss": m.loss,
        f"loss/{report.source}": m.loss,
        "accuracy": m.accuracy,
        "learning_rate": m.learning_rate,
        "gradient_norm": m.grad_norm,
        "loss_scale": m.loss_scale,
        "skipped": float(m.overflow),
        "pairs_per_second": m.pairs / seconds,
        "tokens_per_second": m.tokens / seconds,
        "waiting_share": report.waited / seconds,
        "padding_share": 1 - m.tokens / m.computed_tokens,
        "masked_share": m.masked_share,
    }


def command_line() -> str:
    """The command that runs, as a person would type it."""
    main = getattr(sys.modules["__main__"], "__spec__", None)
    program = f"python -m {main.name}" if main is not None else f"python {sys.argv[0]}"
    return shlex.join([*program.split(), *sys.argv[1:]])


def _track(run: Run, display: Display, place: Place | None, verbose: bool = False) -> Tracker:
    config = public(run.config)
    params = {
        name: value
        for section, part in config.to_dict().items()
        for name, value in (part.items() if isinstance(part, dict) else [(section, part)])
    }
    tracked = TrackedRun(
        key=run_key(run),
        name=place.name if place else run.name,
        experiment=place.experiment if place else config.run.experiment,
        params=params,
        tags={
            "gte_ray.recipe": config.recipe,
            "gte_ray.fingerprint": run.fingerprint,
            "gte_ray.store": run.store.fingerprint,
            **(place.tags if place else {}),
        },
        parent_run_id=place.parent_run_id if place else None,
    )
    return Tracker(
        run.config.run.tracking_uri,
        tracked,
        os.path.join(_local_folder(run), SPOOL),
        display.warn,
        verbose,
    )


def _local_folder(run: Run) -> str:
    """Where files of the run that grow line by line are: its own folder, if that is on this machine."""
    if "://" not in run.folder:
        return run.folder
    folder = os.path.join(tempfile.gettempdir(), f"gte_ray-{run_key(run)}")
    os.makedirs(folder, exist_ok=True)
    return folder


def _log_config(run: Run, tracker: Tracker) -> None:
    path = os.path.join(_local_folder(run), CONFIG_FILE)
    storage.write_bytes(path, storage.read_bytes(storage.join(run.folder, CONFIG_FILE)))
    tracker.log_artifact(path)


def _plot(run: Run, scores: Scores, history: History, tracker: Tracker) -> None:
    folder = os.path.join(_local_folder(run), "plots")
    os.makedirs(folder, exist_ok=True)
    steps, sources, losses = [], [], []
    for step, source, loss, _ in history.read():
        steps.append(step)
        sources.append(source)
        losses.append(loss)
    if steps:
        loss_curve(steps, losses, sources, os.path.join(folder, "loss"))
    if scores.after:
        scores_plot(scores.before, scores.after, scores.bm25, os.path.join(folder, "scores"))
    tracker.log_artifact(folder, "plots")


def _record(run: Run, scores: Scores, tracker: Tracker, display: Display) -> Results:
    for step, metrics in scores.metrics(run.config.training.steps):
        tracker.log_step(step, metrics)
    results = Results(scores, run.model_folder, tracker.run_id(timeout_s=5.0) or "")
    storage.write_json(
        storage.join(run.folder, RESULTS_FILE),
        {
            "scores": scores.to_dict(),
            "model_folder": results.model_folder,
            "mlflow_run": results.mlflow_run,
        },
    )
    left = tracker.finish("FINISHED")
    if left:
        display.warn(left)
    return results
