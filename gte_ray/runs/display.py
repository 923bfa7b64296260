"""What a run tells while it goes on, whoever listens: a terminal, a job's log, Ray Tune."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from gte_ray.train.step_report import StepReport


class Training(Protocol):
    """A training run that somebody follows."""

    def show(self, reports: Sequence[StepReport]) -> None:
        """Called with the steps that were done since the last call."""


class Display(Protocol):
    """Where a run tells what it does."""

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...

    def training(self, steps: int, start: int) -> AbstractContextManager[Training]:
        """Follows steps `start` <= t < `steps`."""
