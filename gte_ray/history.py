"""The steps of a run in a local file, so that its plot is whole after a restart and without a server."""

import json
from collections.abc import Sequence
from pathlib import Path

from gte_ray import storage
from gte_ray.train.report import StepReport


class History:
    """Step, source, loss and batch digest of each step, one JSON line each; of a step done twice the last counts.

    Lines are added to a local file. Where the run is elsewhere, `keep` copies it there.
    """

    def __init__(self, path: str, kept: str):
        """`kept` is the file in the run's folder; it is taken up where the one at `path` is missing."""
        self.path, self.kept = Path(path), kept
        if not self.path.exists() and storage.exists(kept):
            storage.download_file(kept, path)

    def keep(self) -> None:
        if self.kept != str(self.path) and self.path.exists():
            storage.upload_file(str(self.path), self.kept)

    def append(self, reports: Sequence[StepReport]) -> None:
        lines = [json.dumps(_entry(report)) + "\n" for report in reports]
        with open(self.path, "a+b", buffering=0) as file:
            storage.append_lines(file, "".join(lines).encode())

    def read(self) -> list[tuple[int, str, float, int]]:
        """All steps in their order; a last line that was cut off by a kill is passed over."""
        found: dict[int, tuple[int, str, float, int]] = {}
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        for line in lines:
            try:
                step, source, loss, digest = json.loads(line)
            except ValueError:
                continue
            found[step] = (step, source, loss, digest)
        return [found[step] for step in sorted(found)]


def _entry(report: StepReport) -> tuple[int, str, float, int]:
    return report.step, report.source, report.metrics.loss, report.metrics.digest
