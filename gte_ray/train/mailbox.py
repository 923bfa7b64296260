"""Step reports on their way to the driver: rank 0 puts them in a mailbox, the driver takes them out."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ray

from gte_ray.errors import RunError
from gte_ray.train.step_report import StepMetrics, StepReport

if TYPE_CHECKING:
    from gte_ray.train.machine import Readings  # imports torch, which the driver and the mailbox do without


class Mailbox:
    """An actor that holds reports until the driver confirms that it has stored them."""

    def __init__(self) -> None:
        self.reports: list[StepReport] = []
        self.added = self.kept = 0
        self.system: dict[str, float] = {}
        """The last readings of all workers that went with no report yet."""
        self.changed = asyncio.Condition()

    async def push(self, reports: list[StepReport], until_kept: bool) -> None:
        """Add reports; with `until_kept`, return once the driver has stored these and all earlier ones."""
        async with self.changed:
            if reports and self.system:
                reports[-1] = replace(reports[-1], system=self.system)
                self.system = {}
            self.reports += reports
            self.added += len(reports)
            self.changed.notify_all()
            if until_kept:
                last = self.added
                await self.changed.wait_for(lambda: self.kept >= last)

    async def note(self, readings: dict[str, float]) -> None:
        """Add a worker's readings to the next report."""
        self.system |= readings

    async def take(self, kept: int, wait_seconds: float) -> list[StepReport]:
        """Drop the first `kept` reports ever pushed, return the rest; wait up to `wait_seconds` for one."""
        async with self.changed:
            del self.reports[: kept - self.kept]
            self.kept = kept
            self.changed.notify_all()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.changed.wait_for(lambda: self.reports), wait_seconds)
            return self.reports


class Reporter:
    """Sends rank 0's reports to the mailbox, a few at a time and without waiting for it, and each rank's readings."""

    def __init__(self, mailbox: Any, rank: int, readings: "Readings", every_seconds: float = 0.25):
        self.mailbox, self.is_first = mailbox, rank == 0
        self.readings, self.every_seconds = readings, every_seconds
        self.reports: list[StepReport] = []
        self.last_step = self.sent = time.perf_counter()
        self.first = True

    def add(self, step: int, source: str, waited: float, metrics: StepMetrics) -> None:
        read = self.readings.due()
        if read:
            self.mailbox.note.remote(read)
        if not self.is_first:
            return
        now = time.perf_counter()
        self.reports.append(StepReport(step, source, now - self.last_step, waited, metrics, self.first))
        self.last_step, self.first = now, False
        if now - self.sent >= self.every_seconds:
            self._send(until_kept=False)

    def flush(self) -> None:
        """Return once the driver has stored all reports: steps that a checkpoint covers are not repeated."""
        if self.is_first:
            ray.get(self._send(until_kept=True))

    def _send(self, until_kept: bool) -> Any:
        reports, self.reports, self.sent = self.reports, [], time.perf_counter()
        return self.mailbox.push.remote(reports, until_kept)


class Follower:
    """Passes new reports from the mailbox to `on_reports` in its own thread, while the `with` block lasts.

    Reports count as stored once `on_reports` returns. If it raises, training continues without it, and the
    block ends with a RunError.
    """

    def __init__(
        self, mailbox: Any, on_reports: Callable[[list[StepReport]], None], every_seconds: float = 0.3
    ):
        self.mailbox, self.on_reports, self.every_seconds = mailbox, on_reports, every_seconds
        self.done = threading.Event()
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *exception: object) -> None:
        self.done.set()
        self.thread.join(timeout=30)
        if self.error is not None:
            raise RunError(f"what the steps reported could not be kept: {self.error}") from self.error

    def _follow(self) -> None:
        kept, last = 0, False
        try:
            while not last:
                last = self.done.is_set()
                reports = ray.get(self.mailbox.take.remote(kept, 0 if last else self.every_seconds))
                if reports:
                    self._hand_on(reports)
                kept += len(reports)
        except (ray.exceptions.RayError, ConnectionError):
            return  # Ray was shut down by an interrupt, which is reported elsewhere

    def _hand_on(self, reports: list[StepReport]) -> None:
        if self.error is None:
            try:
                self.on_reports(reports)
            except Exception as error:
                self.error = error
