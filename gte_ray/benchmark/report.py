"""The scoreboard: models beside each other and beside the paper's, in percent."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import matplotlib.pyplot as plt
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from gte_ray.benchmark.paper import CATEGORIES, PaperRow
from gte_ray.benchmark.result import Result
from gte_ray.markdown import code, escaped, markdown_table
from gte_ray.plots import STYLE, legend_name, save

AVERAGE = "average"


@dataclass(frozen=True)
class Board:
    """The results of a benchmark as a table."""

    name: str
    columns: tuple[str, ...]
    """Of tasks, or of categories where the benchmark has one column for each."""
    rows: tuple[PaperRow, ...]
    """Ours first, then the paper's; a missing score is a task that failed or that the model cannot do."""
    ours: int
    """How many of the rows are ours."""
    errors: tuple[str, ...]


def labels(models: Sequence[str]) -> dict[str, str]:
    """A short name for each model: the end of its path that tells it from the others."""
    parts = {model: model.rstrip("/").split("/") for model in models}
    for length in range(2, 1 + max(map(len, parts.values()), default=0)):
        short = {model: "/".join(part[-length:]) for model, part in parts.items()}
        if len(set(short.values())) == len(short):
            return short
    return {model: model for model in models}


def board(
    name: str, results: Sequence[Result], metric: str, paper: Sequence[PaperRow], by_category: bool
) -> Board:
    """One metric of all results. The average is that over tasks, as in Table 6, where none is missing."""
    models = labels(list(dict.fromkeys(result.model for result in results)))
    tasks = dict.fromkeys(result.task for result in results)
    rows = []
    for model, label in models.items():
        own = [result for result in results if result.model == model]
        scores = {result.task: 100 * result.scores[metric] for result in own if metric in result.scores}
        whole = len(scores) == len(tasks)
        average = mean(scores.values()) if whole else float("nan")
        rows.append(PaperRow(label, _categories(own, scores) if by_category else scores, average))
    columns = tuple(CATEGORIES) if by_category else tuple(tasks)
    shown = [row for row in paper if set(row.scores) & set(columns)]
    errors = tuple(dict.fromkeys(f"{models[r.model]}: {r.error}" for r in results if r.error))
    return Board(name, columns, (*rows, *shown), len(rows), errors)


def _categories(results: Sequence[Result], scores: dict[str, float]) -> dict[str, float]:
    """The mean of each category whose tasks were all scored."""
    found = {}
    for category in CATEGORIES:
        tasks = [result.task for result in results if result.category == category]
        if tasks and all(task in scores for task in tasks):
            found[category] = mean(scores[task] for task in tasks)
    return found


def _cells(row: PaperRow, columns: Sequence[str]) -> list[str]:
    values = [row.scores.get(column, float("nan")) for column in columns] + [row.average]
    return ["" if np.isnan(value) else f"{value:.1f}" for value in values]


def _transposed(found: Board) -> tuple[list[str], list[list[str]]]:
    """Heading and lines: a line for each model where columns are few, else one for each column."""
    names = [CATEGORIES.get(column, column) for column in found.columns] + [AVERAGE]
    ours = [row.name for row in found.rows[: found.ours]]
    heads = [*ours, *(f"paper: {row.name}" for row in found.rows[found.ours :])]
    cells = [_cells(row, found.columns) for row in found.rows]
    if found.columns == tuple(CATEGORIES):
        return ["", *names], [[head, *line] for head, line in zip(heads, cells, strict=True)]
    lines = [[name, *(line[i] for line in cells)] for i, name in enumerate(names)]
    return ["task", *heads], lines


def console_table(found: Board) -> Table:
    """For the terminal."""
    heading, lines = _transposed(found)
    table = Table(title=f"{found.name}, %", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(heading):
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for line in lines:
        table.add_row(*line, style="bold" if line[0] == AVERAGE else "")
    return table


def markdown(found: Board, command: str) -> str:
    """report.md."""
    heading, lines = _transposed(found)
    text = [f"# {escaped(found.name)}, %", markdown_table(heading, lines), code(command)]
    if found.errors:
        text += ["Without a score:", "\n".join(f"- {escaped(error)}" for error in found.errors)]
    return "\n\n".join(text) + "\n"


def table_csv(results: Sequence[Result]) -> str:
    """table.csv: a line for each model, task and metric, from 0 to 1."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", "task", "category", "metric", "score"])
    for result in results:
        for metric, value in result.scores.items():
            writer.writerow([result.model, result.task, result.category, metric, value])
    return text.getvalue()


def plot(found: Board, path: str) -> list[str]:
    """Bars of all rows beside each other, by category or task; the files that were written."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(max(6.0, 1.1 * len(found.columns)), 4.4))
        width = 0.8 / len(found.rows)
        for number, row in enumerate(found.rows):
            heights = [row.scores.get(column, 0.0) for column in found.columns]
            places = np.arange(len(heights)) + (number - (len(found.rows) - 1) / 2) * width
            name = row.name if number < found.ours else f"paper: {row.name}"
            axes.bar(
                places, heights, width, label=legend_name(name), alpha=1.0 if number < found.ours else 0.45
            )
        labels = [CATEGORIES.get(column, column) for column in found.columns]
        axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
        axes.set_ylabel("%")
        axes.set_title(found.name)
        axes.legend(frameon=False, fontsize="small")
        return save(figure, path)
