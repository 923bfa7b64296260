"""The members of a 7z archive as streams, which py7zr writes and we read."""

import io
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

from gte_ray.errors import RunError
from gte_ray.readers.compressed import BUFFER_BYTES
from gte_ray.runtime.imports import of_extra


def seven_zip_members(
    file: io.BufferedReader, wanted: Callable[[str], bool], uri: str
) -> Iterator[tuple[str, io.BufferedReader | None]]:
    """The names of a 7z archive, those that are not wanted first, and what each of the others holds.

    A thread decompresses them, at most a chunk of 128 MB ahead. Raises OSError for what cannot be decompressed,
    RunError without the package py7zr.
    """
    archive = _opened(file, uri)
    names = [entry.filename for entry in archive.list() if not entry.is_directory]
    targets = [name for name in names if wanted(name)]
    yield from ((name, None) for name in names if name not in set(targets))
    if not targets:
        return
    with TemporaryDirectory() as folder:  # stays empty; py7zr looks whether members would lie inside it
        unpacking = _Unpacking(archive, targets, folder)
        try:
            while (member := unpacking.next_member()) is not None:
                content: io.BufferedReader = io.BufferedReader(member, BUFFER_BYTES)
                with content:
                    yield member.name, content
        finally:
            unpacking.abandon()


def _opened(file: io.BufferedReader, uri: str) -> Any:
    with of_extra("7z", f"{uri}: needs the package py7zr", RunError):
        import py7zr
    try:
        archive = py7zr.SevenZipFile(file)
        encrypted = archive.needs_password()
    except Exception as error:
        raise _reason(error) from error
    if encrypted:
        raise OSError("it is encrypted")
    return archive


def _names(archive: Any, targets: list[str], folder: str) -> dict[str, str]:
    """The members' names by the paths that py7zr gives them in a folder: of equal names the later ones get a number."""
    seen: Counter[str] = Counter()
    names, wanted = {}, set(targets)
    for name in (entry.filename for entry in archive.list() if entry.filename in wanted):
        path = f"{name}_{seen[name] - 1}" if seen[name] else name
        names[PurePosixPath(folder, path).as_posix()] = name
        seen[name] += 1
    return names


def _reason(error: Exception) -> OSError:
    """One error for all that a damaged archive may raise, which is no promise of py7zr's."""
    return OSError(f"it is damaged or cut off: {error or type(error).__name__}")


class _Member(io.RawIOBase):
    """A member by the reading end of a pipe. What ends early is an error, not an end."""

    def __init__(self, name: str, descriptor: int, unpacking: "_Unpacking"):
        self.name = name
        self.descriptor = descriptor
        self.unpacking = unpacking

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = os.readv(self.descriptor, [buffer])
        if not count and self.unpacking.error is not None:
            raise self.unpacking.error
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self.descriptor)
        super().close()


class _Writing:
    """What py7zr writes a member to: the other end of the pipe. Nobody may be reading it any more."""

    def __init__(self, descriptor: int, unpacking: "_Unpacking"):
        self.descriptor = descriptor
        self.unpacking = unpacking
        self.open = True

    def write(self, content: bytes | bytearray) -> int:
        """Raises EOFError once the whole archive is not read any more, which ends py7zr's work."""
        self.unpacking.check_wanted()
        waiting = memoryview(content)
        try:
            while len(waiting) and self.open:
                waiting = waiting[os.write(self.descriptor, waiting) :]
        except BrokenPipeError:
            self.close()
        return len(content)

    def close(self) -> None:
        if self.open:
            os.close(self.descriptor)
        self.open = False

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0  # which py7zr asks for when it closes a member

    def flush(self) -> None:
        pass


class _Unpacking(Thread):
    """Writes each member to a pipe of its own, whose reading end `next_member` gives. A factory of py7zr."""

    def __init__(self, archive: Any, targets: list[str], folder: str):
        super().__init__(name="7z", daemon=True)
        self.archive = archive
        self.targets = targets
        self.folder = folder
        self.names = _names(archive, targets, folder)
        self.error: OSError | None = None
        """Why it ended early."""
        self.abandoned = False
        self.ended = False
        """Whether there are no members any more."""
        self.writing: _Writing | None = None
        self.members: SimpleQueue[_Member | None] = SimpleQueue()
        self.start()

    def run(self) -> None:
        try:
            self.archive.extract(self.folder, targets=self.targets, factory=self)
        except Exception as error:
            self.error = _reason(error)
        if self.writing is not None:
            self.writing.close()
        self.members.put(None)

    def create(self, name: str) -> _Writing:
        """Called by py7zr for each member, with a path in the folder."""
        self.check_wanted()
        reading, writing = os.pipe()
        self.writing = _Writing(writing, self)
        self.members.put(_Member(self.names.get(name, name.removeprefix(f"{self.folder}/")), reading, self))
        return self.writing

    def check_wanted(self) -> None:
        """Raises EOFError if nobody reads the archive any more."""
        if self.abandoned:
            raise EOFError("nobody reads it any more")

    def next_member(self) -> _Member | None:
        """None behind the last one. Raises OSError if the archive cannot be read to its end."""
        member = self.members.get()
        self.ended = member is None
        if member is None and self.error is not None:
            raise self.error
        return member

    def abandon(self) -> None:
        """Ends the thread, whatever it is at."""
        self.abandoned = True
        while not self.ended:
            member = self.members.get()
            self.ended = member is None
            if member is not None:
                member.close()
        self.join()
