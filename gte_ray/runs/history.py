"""The steps of a run in a local file, so that its plot is complete after a restart and without a server."""

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from gte_ray.runtime import storage
from gte_ray.train.step_report import StepReport

KEEP_SECONDS = 30.0
"""Time between copies of the file to a remote run folder."""


class History:
    """Step, source, loss and batch digest of each step as JSON lines. If a step repeats, its last line counts.

    Lines are appended to a local file. If the run's folder is remote, the file is copied there in the
    background and by `keep`. A disk that rejects writes does not stop the run: lines wait in memory until it
    accepts them.
    """

    def __init__(self, path: str, kept: str, warn: Callable[[str], None]):
        """`kept` is the file in the run's folder. It replaces the file at `path` if it is larger.

        `warn` is called with a sentence when lines start to wait in memory.
        """
        self.path, self.kept, self.elsewhere = Path(path), kept, kept != path
        self._warn = warn
        self._waiting: list[str] = []
        self._copying: threading.Thread | None = None
        self._copied = time.monotonic()
        if self.elsewhere and storage.exists(kept):
            before = f"{path}.before"
            storage.download_file(kept, before)
            if not self.path.exists() or os.path.getsize(before) > os.path.getsize(path):
                os.replace(before, path)

    def keep(self) -> None:
        """Retries waiting lines, then uploads the file to the run's folder. Raises OSError if that fails."""
        if self._waiting:
            self.append([])
        if self._copying is not None:
            self._copying.join()
        if self.elsewhere and self.path.exists():
            storage.upload_file(str(self.path), self.kept)

    def append(self, reports: Sequence[StepReport]) -> None:
        waited = bool(self._waiting)
        self._waiting += [json.dumps(_entry(report)) + "\n" for report in reports]
        try:
            with open(self.path, "a+b", buffering=0) as file:
                storage.append_lines(file, "".join(self._waiting).encode())
            self._waiting = []
        except OSError as error:
            if not waited:
                self._warn(f"{self.path} cannot be written to ({error.strerror}); steps wait in memory")
        if self.elsewhere and time.monotonic() - self._copied >= KEEP_SECONDS:
            self._copy_beside()

    def read(self) -> list[tuple[int, str, float, int]]:
        """Step, source, loss and digest of all steps, in order. Skips a last line that a kill cut short."""
        rows: dict[int, tuple[int, str, float, int]] = {}
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        for line in [*lines, *self._waiting]:
            try:
                step, source, loss, digest = json.loads(line)
            except ValueError:
                continue
            rows[step] = (step, source, loss, digest)
        return [rows[step] for step in sorted(rows)]

    def _copy_beside(self) -> None:
        if self._copying is not None and self._copying.is_alive():
            return
        self._copied = time.monotonic()
        self._copying = threading.Thread(target=self._copy, daemon=True)
        self._copying.start()

    def _copy(self) -> None:
        with suppress(OSError):  # the next copy includes these lines
            storage.upload_file(str(self.path), self.kept)


def _entry(report: StepReport) -> tuple[int, str, float, int]:
    return report.step, report.source, report.metrics.loss, report.metrics.digest
