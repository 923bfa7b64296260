"""A run in MLflow: its key, parameters and tags, and the files that are logged besides its steps."""

import os
import tempfile

from gte_ray.evaluation.heldout import mean_scores
from gte_ray.evaluation.scores import Scores
from gte_ray.report.markdown import code, code_block, markdown_table
from gte_ray.report.plots import loss_curve, scores_plot
from gte_ray.runs.history import History
from gte_ray.runs.plan import Run
from gte_ray.runs.run_folder import CONFIG_FILE, public, run_key
from gte_ray.runtime import storage
from gte_ray.runtime.cluster import command_line
from gte_ray.runtime.uri import without_password
from gte_ray.tracking.queue import QUEUE_FILE
from gte_ray.tracking.tracker import TrackedRun, Tracker

DESCRIPTION = "mlflow.note.content"
"""The tag that MLflow shows as a run's description."""
SHOWN_COMMAND = 2_000
"""Most characters of the command in a description."""
SHOWN_SOURCES = 40
"""Most sources of the table in a description, which MLflow limits."""


def tracked_run(run: Run) -> TrackedRun:
    """What MLflow shows of the opened `run`, in the experiment that its config names."""
    config = public(run.config)
    params = {
        name: value
        for section, part in config.to_dict().items()
        for name, value in (part.items() if isinstance(part, dict) else [(section, part)])
    }
    return TrackedRun(
        key=run_key(run),
        name=run.name,
        experiment=config.run.experiment,
        params=params,
        tags={
            "gte_ray.recipe": config.recipe,
            "gte_ray.fingerprint": run.fingerprint,
            "gte_ray.store": run.store.fingerprint,
        },
    )


def queue_path(run: Run) -> str:
    """The local file with the records of the opened `run` that MLflow has not received yet."""
    return os.path.join(local_folder(run), QUEUE_FILE)


def local_folder(run: Run) -> str:
    """The local folder for files that grow line by line: the run's if it is local, else a temporary one."""
    if "://" not in run.folder:
        return run.folder
    folder = os.path.join(tempfile.gettempdir(), f"gte_ray-{run_key(run)}")
    os.makedirs(folder, exist_ok=True)
    return folder


def log_run(run: Run, tracker: Tracker) -> None:
    """Logs what a run is before its first step: a description, its store, its config file as an artifact."""
    tracker.set_tags({DESCRIPTION: describe(run)})
    sources = [(source.name, source.rows) for source in run.plan.sources]
    tracker.log_dataset(
        storage.name(run.store.uri),
        run.store.fingerprint,
        without_password(run.store.uri),
        {"num_rows": sum(rows for _, rows in sources), "sources": dict(sources)},
    )
    path = os.path.join(local_folder(run), CONFIG_FILE)
    storage.write_bytes(path, storage.read_bytes(storage.join(run.folder, CONFIG_FILE)))
    tracker.log_artifact(path)


def describe(run: Run, scores: Scores | None = None) -> str:
    """What the run is, in Markdown: its `scores` once there are some, model, data, command."""
    config, plan, command = public(run.config), run.plan, command_line()
    pairs = sum(source.rows for source in plan.sources)
    text = (
        f"{config.recipe} from {code(config.model.base)}: {plan.steps:,} steps of {plan.global_batch:,} pairs out of "
        f"{pairs:,} from {len(plan.sources):,} source(s) of {code(without_password(run.store.uri))}"
        f"\n\n{code_block(command if len(command) <= SHOWN_COMMAND else command[:SHOWN_COMMAND] + ' …')}"
    )
    if scores is None or not scores.after:
        return text
    header, rows = _scores(scores)
    _, before, after, bm25 = rows[-1]
    first = f"Held-out nDCG@10: **{after} %** (before {before} %, BM25 {bm25} %)"
    more = len(rows) - 1 - SHOWN_SOURCES
    if more > 0:
        rows = [*rows[:SHOWN_SOURCES], rows[-1]]
        first += f". {more:,} more sources than in the table are among the metrics"
    return f"{first}.\n\n{text}\n\n{markdown_table(header, rows, numbers=True)}"


def _scores(scores: Scores) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table of nDCG@10 by source, the mean last."""
    rows = [*zip(scores.before, scores.after, scores.bm25, strict=True)]
    rows.append((mean_scores(scores.before), mean_scores(scores.after), mean_scores(scores.bm25)))
    cells = [[row[0].source, *(f"{100 * part.ndcg_at_10:.1f}" for part in row)] for row in rows]
    return ["source", "before", "after", "BM25"], cells


def log_plots(run: Run, scores: Scores, history: History, tracker: Tracker) -> None:
    """Plots the losses and the scores, and logs both as artifacts."""
    folder = os.path.join(local_folder(run), "plots")
    os.makedirs(folder, exist_ok=True)
    steps = [
        row for row in history.read() if row[0] < run.plan.steps
    ]  # those of a run before it was lowered have others
    if steps:
        numbers, sources, losses, _ = zip(*steps, strict=True)
        loss_curve(numbers, losses, sources, os.path.join(folder, "loss"))
    if scores.after:
        scores_plot(scores.before, scores.after, scores.bm25, os.path.join(folder, "scores"))
    tracker.log_artifact(folder, "plots")
