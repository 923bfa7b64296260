"""The lock of a run: two commands that train it at once would delete each other's checkpoints."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from gte_ray.errors import RunError
from gte_ray.runtime import storage
from gte_ray.runtime.cluster import Interruption

BEAT_SECONDS = 10.0
"""Time between renewals of a lock. A lock that is not renewed for three times as long has expired."""


@contextmanager
def locked(run_folder: str, interruption: Interruption, say: Callable[[str], None]) -> Iterator[None]:
    """Holds the lock of a run during the block, or until it is interrupted.

    Raises RunError if another command holds it. The lock is a file beside the run's folder, because
    the folder may be deleted meanwhile.
    """
    path = storage.beside(run_folder, ".lock")
    _look(path, say)
    lock = _Lock(path)
    interruption.on_interrupt(lock.release)
    try:
        yield
    finally:
        lock.release()


def _look(path: str, say: Callable[[str], None]) -> None:
    """Waits until the lock at `path` is free or expired. Raises RunError if another process renews it."""
    record = _read(path)
    if record is None or _ended(record):
        return
    owner = f"process {record['pid']} on {record['host']}"
    say(f"{owner} has begun this run; looking whether it still trains it")
    until = time.monotonic() + 3 * BEAT_SECONDS
    while time.monotonic() < until:
        time.sleep(BEAT_SECONDS / 10)
        latest = _read(path)
        if latest is None:
            return
        if latest != record:
            raise RunError(
                f"{path.removesuffix('.lock')}: another command trains this run ({owner}); stop that one, or give "
                "another --name"
            )


def _read(path: str) -> Any:
    with suppress(FileNotFoundError):
        return storage.read_json(path)
    return None


def _ended(record: dict[str, Any]) -> bool:
    """Whether the process that holds the lock is known to have ended."""
    if record["host"] != socket.gethostname():
        return False
    try:
        os.kill(record["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # the process belongs to another user
        pass
    return False


class _Lock:
    """The file at `path`, renewed by a thread until `release`."""

    def __init__(self, path: str):
        self.path, self.beats = path, 0
        self._released = threading.Event()
        self._renew()
        self._thread = threading.Thread(target=self._work, name="lock", daemon=True)
        self._thread.start()

    def release(self) -> None:
        self._released.set()
        self._thread.join(timeout=5)  # unreachable storage is not waited for: the lock soon expires

    def _work(self) -> None:
        while not self._released.wait(BEAT_SECONDS):
            with suppress(OSError):
                self._renew()
        with suppress(OSError):
            storage.delete(self.path)

    def _renew(self) -> None:
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "beats": self.beats}
        storage.write_json(self.path, owner)
        self.beats += 1
