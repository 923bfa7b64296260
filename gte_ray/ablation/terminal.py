"""Console output of a study: its trials while they run, and its table."""

import time

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import TaskID
from rich.table import Table

from gte_ray.ablation.report import Report
from gte_ray.ablation.trials import Trial
from gte_ray.ablation.tune import TrialProgress
from gte_ray.cli.progress import step_bar

PLAIN_SECONDS = 30.0
"""Time between two lines about a trial if there is no terminal."""


class TrialsDisplay:
    """Shows a live line per trial on a terminal, and otherwise a plain line from time to time."""

    def __init__(self, console: Console):
        self.console = console
        self.tasks: dict[str, TaskID] = {}
        self.told: dict[str, float] = {}
        self.bar = step_bar(console, "label")

    def __enter__(self) -> "TrialsDisplay":
        self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()

    def show(self, trial: "Trial", progress: TrialProgress) -> None:
        label, text = trial.label, f"loss {progress.loss:.3f}"
        if label not in self.tasks:
            self.tasks[label] = self.bar.add_task(text, total=progress.steps, label=label)
        self.bar.update(self.tasks[label], completed=progress.step, description=text)
        if progress.said:
            self.console.print(f"warning: {label}: {progress.said}", style="yellow")
        last, now = progress.step == progress.steps, time.monotonic()
        if not self.console.is_terminal and (last or now - self.told.get(label, 0) > PLAIN_SECONDS):
            self.told[label] = now
            self.console.print(f"{label}  step {progress.step}/{progress.steps}  {text}")


def console_table(report: Report) -> Table:
    """Return the report's table for the terminal."""
    ablation = report.ablation
    table = Table(title=f"{ablation.title}: {ablation.question}", title_justify="left", box=SIMPLE_HEAD)
    header, rows = report.table()
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    return table
