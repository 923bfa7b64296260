"""What shows the progress of a run: a terminal, a job's log, Ray Tune."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from gte_ray.train.step_report import StepReport


class Training(Protocol):
    """The progress display of a training run."""

    def show(self, reports: Sequence[StepReport]) -> None:
        """Shows the steps done since the last call."""


class Display(Protocol):
    """Where a run prints messages, warnings and progress."""

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...

    def training(self, steps: int, start: int) -> AbstractContextManager[Training]:
        """Shows the progress of steps `start` <= t < `steps`."""
