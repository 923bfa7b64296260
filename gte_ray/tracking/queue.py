"""The queue of records for a tracking server, kept in memory and in a JSON Lines file."""

import io
import json
import os
import threading
from collections import deque
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any, Literal

from gte_ray.runtime import storage

QUEUE_FILE = "mlflow-queue.jsonl"
"""Usual name of that file."""


@dataclass(frozen=True)
class Record:
    """One call of the tracker. Its time makes a second write of it harmless."""

    kind: Literal["metrics", "params", "tags", "artifact", "dataset", "model"]
    values: dict[str, float] | dict[str, str]
    """Metrics, parameters or tags by name, or what the tracker's method of another kind is given, by name."""
    step: int = 0
    time_ms: int = 0


def halves_of(group: list[Record]) -> list[list[Record]]:
    """Splits the records, or the values of a single record, in half. Returns [] for what cannot be split."""
    middle = len(group) // 2
    if middle:
        return [group[:middle], group[middle:]]
    if group[0].kind not in ("metrics", "params", "tags"):
        return []
    values: list[tuple[str, Any]] = list(group[0].values.items())
    middle = len(values) // 2
    parts = [values[:middle], values[middle:]] if middle else []
    return [[replace(group[0], values=dict(part))] for part in parts]


def unwritten(queue: str) -> bool:
    """Whether an earlier tracker with this queue left records or files to write."""
    return os.path.exists(queue) or os.path.exists(artifact_queue(queue))


def artifact_queue(queue: str) -> str:
    """The queue of files beside a queue of records."""
    stem, ending = os.path.splitext(queue)
    return f"{stem}-artifacts{ending}"


class RecordQueue:
    """A queue of records that outlives the process.

    A record is in the file before `add` returns. The file is emptied whenever all records are done: after a
    kill it may hold records that were already done, but it never lacks one that was not. A disk that rejects
    writes does not stop the run: `disk_error` holds the reason, and records are kept in memory only.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.disk_error: OSError | None = None
        self.wakes = threading.Condition()
        """Notified when a record is added."""
        self._records: deque[Record] = deque()
        self._file: io.FileIO | None = None
        try:
            os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115
            self._restore()
        except OSError as error:
            self.disk_error = error

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: Record) -> None:
        line = json.dumps(asdict(record), ensure_ascii=False) + "\n"
        with self.wakes:
            self._records.append(record)
            self._append(line.encode("utf-8", "replace"))
            self.wakes.notify_all()

    def first(self, count: int) -> list[Record]:
        """The oldest `count` records. They stay in the queue until `done` removes them."""
        with self.wakes:
            return list(islice(self._records, count))

    def done(self, count: int) -> None:
        """Removes the oldest `count` records."""
        with self.wakes:
            for _ in range(count):
                self._records.popleft()
            if not self._records and self._file is not None:
                try:
                    self._file.truncate(0)
                except OSError as error:
                    self.disk_error = error

    def rotate(self) -> None:
        """Moves the oldest record to the end of the queue."""
        with self.wakes:
            self._records.rotate(-1)

    def close(self) -> None:
        """Closes the file, and deletes it if the queue is empty."""
        with self.wakes:
            if self._file is not None:
                self._file.close()
                self._file = None
                if not self._records and os.path.exists(self.path):
                    os.remove(self.path)

    def _append(self, lines: bytes) -> None:
        if self._file is None:
            return
        try:
            storage.append_lines(self._file, lines)
        except OSError as error:
            self.disk_error = error

    def _restore(self) -> None:
        """Loads the records that an earlier process left. Skips a last line that a kill cut short."""
        assert self._file is not None
        self._file.seek(0)
        for line in self._file.readall().splitlines():
            try:
                self._records.append(Record(**json.loads(line)))
            except (ValueError, TypeError):
                continue
