"""Live progress lines. That of a training run shows step, loss, pairs per second and time left."""

import time
from collections import deque
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from gte_ray.cli.console import printable
from gte_ray.train.step_report import StepReport

RECENT_STEPS = 30
"""Steps over which the displayed speed and loss are averaged."""


class PlainColumn(TextColumn):
    """A column that prints text literally; see `plain_console`."""

    def render(self, task: Task) -> Text:
        return Text(printable(self.text_format.format(task=task)))


class ConsoleDisplay:
    """The display of a run on a terminal or in the log of a job."""

    def __init__(self, console: Console):
        self.console = console

    def say(self, text: str) -> None:
        self.console.print(text)

    def warn(self, text: str) -> None:
        self.console.print(f"warning: {text}", style="yellow")

    def training(self, steps: int, start: int) -> "TrainingProgress":
        return TrainingProgress(self.console, steps, start)


def step_bar(console: Console, *labels: str) -> Progress:
    """Bars of steps, each behind its task's fields `labels`; nothing where there is no terminal."""
    return Progress(
        *(PlainColumn(f"{{task.fields[{label}]}}") for label in labels),
        PlainColumn("step {task.completed:.0f}/{task.total:.0f}"),
        BarColumn(bar_width=None),
        PlainColumn("{task.description}"),
        console=console,
        expand=True,
        disable=not console.is_terminal,
    )


class TrainingProgress:
    """A live line on a terminal. Elsewhere (job logs, files), a plain line at intervals."""

    def __init__(self, console: Console, steps: int, start: int, plain_every_seconds: float = 15.0):
        self.console = console
        self.steps = steps
        self.done = start
        self.recent: deque[StepReport] = deque(maxlen=RECENT_STEPS)
        self.timed: deque[StepReport] = deque(maxlen=RECENT_STEPS)
        """Recent steps since the workers started, without the first, which takes many times as long."""
        self.plain_every_seconds = plain_every_seconds
        self.last_plain = 0.0
        self.bar = step_bar(console)
        self.task: TaskID = self.bar.add_task("starting workers", total=steps, completed=start)

    def __enter__(self) -> "TrainingProgress":
        self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()
        if not self.console.is_terminal and self.recent:
            self._plain()

    def show(self, reports: Sequence[StepReport]) -> None:
        for report in reports:
            if report.step < self.done:
                self.console.print(
                    f"step {self.done} is the last that was done; workers were started again and go on from "
                    f"the last checkpoint, with step {report.step + 1}"
                )
            self.done = report.step + 1
            self.recent.append(report)
            if report.first:
                self.timed.clear()
            else:
                self.timed.append(report)
        self.bar.update(self.task, completed=self.done, description=self._description())
        if not self.console.is_terminal and time.monotonic() - self.last_plain > self.plain_every_seconds:
            self._plain()

    def _plain(self) -> None:
        self.last_plain = time.monotonic()
        self.console.print(f"step {self.done}/{self.steps}  {self._description()}")

    def _description(self) -> str:
        """The loss, and speed and time left once a step has been timed."""
        loss = sum(report.metrics.loss for report in self.recent) / len(self.recent)
        if not self.timed:
            return f"loss {loss:.3f}"
        seconds = sum(report.seconds for report in self.timed)
        pairs = sum(report.metrics.pairs for report in self.timed) / max(seconds, 1e-9)
        left = (self.steps - self.done) * seconds / len(self.timed)
        return f"loss {loss:.3f}  {pairs:,.0f} pairs/s  {clock(left)} left"


class PreparingProgress:
    """A live line while a store is prepared or mined. Without a terminal, one line per phase."""

    def __init__(self, console: Console):
        self.console = console
        self.done: dict[str, int] = {}
        self.bar = Progress(
            SpinnerColumn(),
            PlainColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self.task = self.bar.add_task("starting")

    def __enter__(self) -> "PreparingProgress":
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()

    def report(self, phase: str, done: int) -> None:
        """Shows the phase. `done` is the number of pairs or texts done in it since the last call.

        Sources are done side by side, so a phase may come again after another one.
        """
        if phase not in self.done and not self.console.is_terminal:
            self.console.print(phase)
        self.done[phase] = self.done.get(phase, 0) + done
        self.bar.update(self.task, description=f"{phase}: {self.done[phase]:,}")


def clock(seconds: float) -> str:
    """`seconds` as h:mm:ss, or as m:ss below an hour."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
