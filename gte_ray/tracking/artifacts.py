"""Copies files to MLflow's artifact store, which may be down or refuse access while MLflow itself works."""

import os
import threading
import time
from collections.abc import Callable

from gte_ray.tracking.queue import Record, RecordQueue
from gte_ray.tracking.server import reason

LONGEST_PAUSE_S = 30.0
"""Longest pause between attempts to store a file. The first is one second, and each doubles the last."""


class ArtifactWriter:
    """Stores files in a thread of its own, so that nothing else waits for them."""

    def __init__(self, queue: str, store: Callable[[Record], None]) -> None:
        """`store` copies the file of a record, or raises the error that prevented it."""
        self._queue = RecordQueue(queue)
        self._store = store
        self._ending = threading.Event()
        self._error = ""
        self._gone: list[str] = []
        self._thread = threading.Thread(target=self._work, name="mlflow artifacts", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, record: Record) -> None:
        """Queues a file to be stored, unless it is already in the queue."""
        if all(waiting.values != record.values for waiting in self._queue.first(len(self._queue))):
            self._queue.add(record)

    def flush(self, deadline: float) -> bool:
        """Waits for all files until `time.monotonic()` reaches `deadline`. Returns whether all are stored."""
        while len(self._queue) and time.monotonic() < deadline:
            time.sleep(0.05)
        return not len(self._queue)

    def finish(self, timeout_s: float) -> list[str]:
        """Retries each file once. Returns sentences on files left in the queue and on files that are gone."""
        self._ending.set()
        with self._queue.wakes:
            self._queue.wakes.notify_all()
        self._thread.join(timeout_s)
        sentences = []
        if left := len(self._queue):
            sentences.append(
                f"MLflow's artifact store could not be written to ({self._error or 'no answer'}): {left} file(s) are "
                "missing there, and are tried again when the same run is started again"
            )
        if self._gone:
            sentences.append(f"{', '.join(self._gone)}: gone before MLflow could store it")
        self._queue.close()
        return sentences

    def _work(self) -> None:
        pause = 1.0
        while not self._ending.is_set():
            with self._queue.wakes:
                self._queue.wakes.wait_for(lambda: len(self._queue) > 0 or self._ending.is_set())
            if self._ending.is_set():
                break
            if self._try_first():
                pause = 1.0
            else:
                self._ending.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
        for _ in range(len(self._queue)):
            self._try_first()

    def _try_first(self) -> bool:
        """Stores the oldest file, or moves it to the end of the queue and returns False."""
        (record,) = self._queue.first(1)
        path = str(record.values["path"])
        if os.path.exists(path):
            try:
                self._store(record)
            except Exception as error:  # a network, a store or a disk may raise anything
                self._error = reason(error)
                self._queue.rotate()
                return False
        else:
            self._gone.append(path)
        self._queue.done(1)
        return True
