"""One run from config to scores, logged to MLflow: train, export, score, record.

Each of the four can be called by itself, in this order. Commands and ablations call `execute`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gte_ray.config.fields import HELD_OUT
from gte_ray.data.ids import unknown_words
from gte_ray.errors import RunError
from gte_ray.evaluation.async_evaluation import AsyncEvaluation, Rows
from gte_ray.evaluation.scores import Scores
from gte_ray.runs.benchmark_board import board_of
from gte_ray.runs.display import Display
from gte_ray.runs.finishing import Trained, export, newest_checkpoint, score
from gte_ray.runs.history import History
from gte_ray.runs.plan import Run, make_stream, resolve_tokenizer
from gte_ray.runs.results import Results, is_finished, read_results, write_results
from gte_ray.runs.tracked import (
    DESCRIPTION,
    describe,
    local_folder,
    log_plots,
    log_run,
    queue_path,
    tracked_run,
)
from gte_ray.runtime import storage
from gte_ray.runtime.cluster import Interruption
from gte_ray.runtime.uri import without_password
from gte_ray.tracking.queue import unwritten
from gte_ray.tracking.tracker import TrackedRun, Tracker
from gte_ray.train.checkpoints import next_step
from gte_ray.train.launch import fit
from gte_ray.train.step_report import StepReport

HISTORY_FILE = "history.jsonl"


@dataclass(frozen=True)
class Recorder:
    """Where a run is recorded while it trains."""

    tracker: Tracker
    history: History
    display: Display


def finished(
    run: Run, display: Display, tracked: TrackedRun | None = None, verbose: bool = False
) -> Results | None:
    """The results of an opened run, or None if it is not finished; `tracked` and `verbose` as in `execute`."""
    if not is_finished(run.folder):
        return None
    if unwritten(queue_path(run)) or run.config.run.register:
        # Write what MLflow has not received yet.
        tracker = Tracker(
            run.config.run.tracking_uri, tracked or tracked_run(run), queue_path(run), display.warn, verbose
        )
        if run.config.run.register:
            _log_model(run, tracker)
        unsent = tracker.finish("FINISHED")
        if unsent:
            display.warn(unsent)
    return read_results(run.folder)


def execute(
    run: Run,
    display: Display,
    interruption: Interruption,
    tracked: TrackedRun | None = None,
    verbose: bool = False,
) -> Results:
    """Trains the opened `run` from its last checkpoint, exports and scores the model, and records all of it.

    `tracked` is what MLflow shows of it, by default `tracked_run(run)`. `verbose` lets DeepSpeed, MLflow and
    Ray write their logs. Ray must be initialised. An interrupted run is marked as killed. Raises RunError;
    the last good checkpoint stays.
    """
    tracker = Tracker(
        run.config.run.tracking_uri, tracked or tracked_run(run), queue_path(run), display.warn, verbose
    )
    with _ending(tracker, interruption):
        path = os.path.join(local_folder(run), HISTORY_FILE)
        history = History(path, storage.join(run.folder, HISTORY_FILE), display.warn)
        log_run(run, tracker)
        recorder = Recorder(tracker, history, display)
        trained = train(run, recorder, verbose)
        display.say("exporting the model")
        export(run, trained)
        board = run.config.run.eval.scoreboard
        display.say(
            "scoring it on held-out pairs" + (f" and on {board}" if board not in ("", HELD_OUT) else "")
        )
        return record(run, score(run, trained), recorder)


@contextmanager
def _ending(tracker: Tracker, interruption: Interruption) -> Iterator[None]:
    """Marks the run in MLflow as killed or failed if it does not finish."""
    interruption.on_interrupt(lambda: tracker.finish("KILLED", timeout_s=5.0))
    try:
        yield
    except Exception as error:
        if not interruption.happened.is_set():
            tracker.set_tags({"gte_ray.error": error})
            tracker.finish("FAILED", timeout_s=5.0)
        raise


def train(run: Run, recorder: Recorder, verbose: bool = False) -> Trained:
    """Trains from the last checkpoint to the last step. Raises RunError if training fails or diverges."""
    stream = make_stream(run, resolve_tokenizer(run))
    for warning in unknown_words(run.store, stream.tokenizer, [source.name for source in stream.sources]):
        recorder.display.warn(warning)
    start = next_step(run.folder)

    board = board_of(run, stream.tokenizer)

    def on_scores(step: int, rows: Rows) -> None:
        recorder.tracker.log_step(step, board.metrics(rows))
        for sentence in board.failures(rows):
            recorder.display.warn(f"after {step} steps: {sentence}")

    evaluation = AsyncEvaluation(run.config, run.folder, start, board, on_scores)
    with recorder.display.training(stream.steps, start) as progress:

        def on_reports(reports: list[StepReport]) -> None:
            progress.show(reports)
            recorder.history.append(reports)
            for report in reports:
                recorder.tracker.log_step(report.step, report.named())
            evaluation.look(reports[-1].step + 1)

        if start < stream.steps:
            outcome = fit(run.config, stream, run.folder, on_reports, verbose)
            recorder.history.keep()
            if outcome.diverged:
                raise RunError(outcome.diverged)
    return Trained(stream.tokenizer, newest_checkpoint(run), evaluation)


def _log_model(run: Run, tracker: Tracker) -> None:
    folder, registered = without_password(run.model_folder), run.config.run.register
    tracker.log_model(run.name, folder, run.config.training.steps, registered)


def record(run: Run, scores: Scores, recorder: Recorder) -> Results:
    """Logs scores and plots to MLflow, then writes the results file, which marks the run as finished."""
    tracker = recorder.tracker
    log_plots(run, scores, recorder.history, tracker)
    tracker.set_tags({DESCRIPTION: describe(run, scores)})
    _log_model(run, tracker)
    for step, metrics in scores.metrics(run.config.training.steps):
        tracker.log_step(step, metrics)
    run_id = tracker.run_id(timeout_s=5.0) or ""
    results = Results(scores, run.model_folder, run_id, tracker.experiment_id)
    write_results(run.folder, results)
    unsent = tracker.finish("FINISHED")
    if unsent:
        recorder.display.warn(unsent)
    return results
