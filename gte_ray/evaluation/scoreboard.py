"""The scoreboard: our models beside the paper's, in percent."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np

from gte_ray.evaluation.mteb.paper import CATEGORIES, PaperRow
from gte_ray.evaluation.task_results import TaskResult

AVERAGE = "average"


@dataclass(frozen=True)
class Scoreboard:
    """The results of a benchmark as a table."""

    name: str
    columns: tuple[str, ...]
    """Names of tasks, or of categories if the benchmark is shown by category."""
    rows: tuple[PaperRow, ...]
    """Ours first, then the paper's; a score is missing if the task failed or the model cannot do it."""
    ours: int
    """Number of rows that are ours."""
    errors: tuple[str, ...]
    by_category: bool = False

    def lines(self) -> tuple[list[str], list[list[str]]]:
        """Return the header and the lines: one line per model for categories, else one per task."""
        names = [CATEGORIES.get(column, column) for column in self.columns] + [AVERAGE]
        ours = [row.name for row in self.rows[: self.ours]]
        heads = [*ours, *(f"paper: {row.name}" for row in self.rows[self.ours :])]
        cells = [_cells(row, self.columns) for row in self.rows]
        if self.by_category:
            return ["", *names], [[head, *line] for head, line in zip(heads, cells, strict=True)]
        lines = [[name, *(line[i] for line in cells)] for i, name in enumerate(names)]
        return ["task", *heads], lines


def labels(models: Sequence[str]) -> dict[str, str]:
    """Return a short name per model: the path suffix that distinguishes it from the others."""
    parts = {model: model.rstrip("/").split("/") for model in models}
    for length in range(2, 1 + max(map(len, parts.values()), default=0)):
        short = {model: "/".join(part[-length:]) for model, part in parts.items()}
        if len(set(short.values())) == len(short):
            return short
    return {model: model for model in models}


def scoreboard(
    name: str, results: Sequence[TaskResult], metric: str, paper: Sequence[PaperRow], by_category: bool
) -> Scoreboard:
    """Return one metric of all results. The average is over tasks, as in Table 6; NaN if one is missing."""
    models = labels(list(dict.fromkeys(result.model for result in results)))
    tasks = dict.fromkeys(result.task for result in results)
    rows = []
    for model, label in models.items():
        own = [result for result in results if result.model == model]
        scores = {result.task: 100 * result.scores[metric] for result in own if metric in result.scores}
        whole = len(scores) == len(tasks)
        average = mean(scores.values()) if whole else float("nan")
        rows.append(PaperRow(label, _categories(own, scores) if by_category else scores, average))
    categories = dict.fromkeys(result.category for result in results)
    ordered = sorted(categories, key=lambda name: (*CATEGORIES, name).index(name))
    columns = tuple(ordered) if by_category else tuple(tasks)
    paper_rows = [row for row in paper if set(row.scores) & set(columns)]
    errors = tuple(dict.fromkeys(f"{models[r.model]}: {r.error}" for r in results if r.error))
    return Scoreboard(name, columns, (*rows, *paper_rows), len(rows), errors, by_category)


def _categories(results: Sequence[TaskResult], scores: dict[str, float]) -> dict[str, float]:
    """Return the mean of each category, all of tasks were scored."""
    means = {}
    for category in dict.fromkeys(result.category for result in results):
        tasks = [result.task for result in results if result.category == category]
        if tasks and all(task in scores for task in tasks):
            means[category] = mean(scores[task] for task in tasks)
    return means


def _cells(row: PaperRow, columns: Sequence[str]) -> list[str]:
    values = [row.scores.get(column, float("nan")) for column in columns] + [row.average]
    return ["" if np.isnan(value) else f"{value:.1f}" for value in values]


def table_csv(results: Sequence[TaskResult]) -> str:
    """Return table.csv: one line per model, task and metric, scores from 0 to 1."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", "task", "category", "metric", "score"])
    for result in results:
        for metric, value in result.scores.items():
            writer.writerow([result.model, result.task, result.category, metric, value])
    return text.getvalue()
