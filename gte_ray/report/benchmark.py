"""Writes a scoreboard as Markdown, as a page and as a plot, and logs all results of a benchmark to MLflow."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from gte_ray.data.hashing import digest
from gte_ray.evaluation.compare import LEVEL, RESAMPLES, Comparison, interval
from gte_ray.evaluation.mteb.paper import CATEGORIES
from gte_ray.evaluation.scoreboard import Scoreboard, labels, scoreboard, table_csv
from gte_ray.evaluation.task_results import TaskResult
from gte_ray.pretrained.identity import identity
from gte_ray.report import page
from gte_ray.report.markdown import code, escaped, markdown_table
from gte_ray.report.plots import STYLE, legend_name, save
from gte_ray.runtime.cluster import command_line
from gte_ray.tracking.queue import QUEUE_FILE
from gte_ray.tracking.tracker import TrackedRun, Tracker

INTERVALS = (
    f"Intervals hold {LEVEL} % of {RESAMPLES:,} scores of as many examples (queries, texts, pairs, sets of texts), drawn with "
    "replacement, the same for both models (paired bootstrap; fewer where a task has many pairs): one without 0 is more than the choice of examples."
)


def markdown(benchmarked: "Benchmarked", command: str) -> str:
    """The content of report.md."""
    text = []
    for board in benchmarked.boards:
        text += [f"# {escaped(board.name)}, %", markdown_table(*board.lines())]
    for comparison in benchmarked.comparisons:
        text += [f"## {escaped(comparison.title)}"] * bool(comparison.rows)
        text += [markdown_table(*comparison.lines())] * bool(comparison.rows)
        text += [escaped(comparison.note)] * bool(comparison.note)
    text += [INTERVALS] * any(comparison.rows for comparison in benchmarked.comparisons)
    text.append(code(command))
    errors = benchmarked.boards[0].errors
    if errors:
        text += ["Without a score:", "\n".join(f"- {escaped(error)}" for error in errors)]
    return "\n\n".join(text) + "\n"


def html(benchmarked: "Benchmarked", command: str) -> str:
    """The content of report.html: a table and bars for each metric, by category or task, and comparisons by task."""
    boards, halves = benchmarked.boards, _halves(benchmarked.results)
    parts = [page.code(command)]
    for board in boards:
        bars = page.bars(_groups(board, halves if board is boards[0] else {}))
        parts += [page.heading(f"{board.name}, %"), page.table(*board.lines()), bars]
    if boards[0].by_category:
        by_task = scoreboard(f"{boards[0].name} by task", benchmarked.results, "main", (), by_category=False)
        parts += [page.heading(f"{by_task.name}, %"), page.bars(_groups(by_task, halves))]
    for comparison in benchmarked.comparisons:
        if comparison.rows:
            parts += [page.heading(comparison.title), page.table(*comparison.lines())]
        parts += [page.paragraph(comparison.note, faint=True)] * bool(comparison.note)
    parts += [page.paragraph(INTERVALS, faint=True)] * any(
        result.queries or result.pairs for result in benchmarked.results
    )
    errors = [f"Without a score: {error}" for error in boards[0].errors]
    return page.page(boards[0].name, [*parts, *map(page.paragraph, errors)])


def _halves(results: Sequence[TaskResult]) -> dict[tuple[str, str], float]:
    """Half of the interval of each main score that has one, in percent, by the model's label and the task."""
    short = labels(list(dict.fromkeys(result.model for result in results)))
    ends = {(short[result.model], result.task): interval(result) for result in results}
    return {key: 50 * (both[1] - both[0]) for key, both in ends.items() if both}


def _groups(board: Scoreboard, halves: Mapping[tuple[str, str], float]) -> list[page.Group]:
    names = [
        row.name if number < board.ours else f"paper: {row.name}" for number, row in enumerate(board.rows)
    ]
    return [
        page.Group(
            CATEGORIES.get(column, column),
            tuple(
                page.Bar(
                    name, row.scores.get(column), halves.get((name, column), 0.0), other=number >= board.ours
                )
                for number, (name, row) in enumerate(zip(names, board.rows, strict=True))
            ),
        )
        for column in board.columns
    ]


def plot(board: Scoreboard, path: str) -> list[str]:
    """Plots grouped bars of all rows, by category or task. Returns the paths of the files written."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(max(6.0, 1.1 * len(board.columns)), 4.4))
        width = 0.8 / len(board.rows)
        for number, row in enumerate(board.rows):
            heights = [row.scores.get(column, 0.0) for column in board.columns]
            positions = np.arange(len(heights)) + (number - (len(board.rows) - 1) / 2) * width
            name = row.name if number < board.ours else f"paper: {row.name}"
            axes.bar(
                positions, heights, width, label=legend_name(name), alpha=1.0 if number < board.ours else 0.45
            )
        labels = [CATEGORIES.get(column, column) for column in board.columns]
        axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
        axes.set_ylabel("%")
        axes.set_title(board.name)
        axes.legend(frameon=False, fontsize="small")
        return save(figure, path)


@dataclass(frozen=True)
class Benchmarked:
    """The results of a benchmark."""

    benchmark: str
    store: str
    """Pair store of the held-out pairs."""
    models: tuple[str, ...]
    results: tuple[TaskResult, ...]
    boards: tuple[Scoreboard, ...]
    """One for each metric, the main one first."""
    comparisons: tuple[Comparison, ...]
    """With the first model of each other one."""


def record(benchmarked: Benchmarked, tracking_uri: str, experiment: str) -> str:
    """Logs everything to one MLflow run for this benchmark and these models.

    Returns a sentence on what could not be written, or "".
    """
    short, identities = labels(benchmarked.models), [identity(model) for model in benchmarked.models]
    key = f"evaluation-{digest(benchmarked.benchmark, benchmarked.store, benchmarked.models, identities)}"
    # The same folder in each call, which then sends what MLflow has not received yet.
    folder = Path(tempfile.gettempdir()) / f"gte_ray-{key}"
    folder.mkdir(exist_ok=True)
    tracked = TrackedRun(
        key=key,
        name=f"{Path(benchmarked.benchmark).name}: {', '.join(short.values())}",
        experiment=experiment,
        params={"benchmark": benchmarked.benchmark, "models": ", ".join(benchmarked.models)},
        tags={"gte_ray.command": command_line()},
    )
    tracker = Tracker(tracking_uri, tracked, str(folder / QUEUE_FILE), lambda text: None)
    for result in benchmarked.results:
        names = {metric: f"{metric}/{result.task}/{short[result.model]}" for metric in result.scores}
        tracker.log_step(0, {names[metric]: value for metric, value in result.scores.items()})
    texts = {
        "report.md": markdown(benchmarked, command_line()),
        "report.html": html(benchmarked, command_line()),
    }
    texts["table.csv"] = table_csv(benchmarked.results)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
        tracker.log_artifact(str(folder / name))
    for path in plot(benchmarked.boards[0], str(folder / "plot")):
        tracker.log_artifact(path)
    return tracker.finish("FAILED" if any(result.error for result in benchmarked.results) else "FINISHED")
