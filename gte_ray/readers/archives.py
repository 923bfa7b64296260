"""The members of archives: ZIP, tar, and 7z as the dumps of StackExchange are packed."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, Any

from gte_ray.errors import RunError
from gte_ray.readers.compressed import BUFFER_BYTES, Section, decompressed
from gte_ray.readers.seven_zip import seven_zip_members
from gte_ray.runtime import storage

ARCHIVES = (".zip", ".7z", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
Member = tuple[str, io.BufferedReader | None]
"""A file's name in the archive and what it holds, None if that is not wanted."""


def members(uri: str, wanted: Callable[[str], bool]) -> Iterator[Member]:
    """The files of an archive, each to be read before the next. Folders and hidden files are left out.

    Raises one of `compressed.ERRORS` where the archive is cut off or damaged, RunError without the package for 7z.
    """
    filesystem, path = storage.resolve(uri)
    if uri.lower().endswith((".zip", ".7z")):
        file = filesystem.open_input_file(path)
        whole: io.BufferedReader = io.BufferedReader(Section(file, 0, file.size()))
        found = _zip_members(whole, wanted) if uri.lower().endswith(".zip") else _of_7z(whole, wanted, uri)
    else:
        raw = io.BufferedReader(filesystem.open_input_stream(path, compression=None), BUFFER_BYTES)
        name = "x.gz" if uri.lower().endswith(".tgz") else storage.name(uri)
        found = _tar_members(decompressed(raw, name)[0], wanted)
    yield from found


def _zip_members(file: io.BufferedReader, wanted: Callable[[str], bool]) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.is_dir() or _hidden(info.filename):
                continue
            if not wanted(info.filename):
                yield info.filename, None
                continue
            with _zip_member(archive, info) as member:
                yield info.filename, io.BufferedReader(_Forward(member), BUFFER_BYTES)


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    try:
        return archive.open(info)
    except RuntimeError as error:  # it is encrypted, or compressed in a rarer way
        raise zipfile.BadZipFile(str(error)) from error


def _tar_members(file: io.BufferedReader, wanted: Callable[[str], bool]) -> Iterator[Member]:
    with tarfile.open(fileobj=file, mode="r|", tarinfo=_Header) as archive:
        for entry in archive:
            if not entry.isfile() or _hidden(entry.name):
                continue
            content = archive.extractfile(entry) if wanted(entry.name) else None
            yield entry.name, io.BufferedReader(_Forward(content), BUFFER_BYTES) if content else None


def _of_7z(file: io.BufferedReader, wanted: Callable[[str], bool], uri: str) -> Iterator[Member]:
    found = seven_zip_members(file, lambda name: wanted(name) and not _hidden(name), uri)
    return ((name, content) for name, content in found if not _hidden(name))


class _Header(tarfile.TarInfo):
    """A header that is damaged or cut off is an error, which tarfile takes for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> "_Header":
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise OSError(f"a member's header is cut off or damaged: {error}") from error


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/") if part not in (".", ".."))


class _Forward(io.RawIOBase):
    """What `source` gives, in one direction only."""

    def __init__(self, source: IO[bytes]):
        self.source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self.source.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


def refuse_unknown_members(uri: str, names: list[str], allowed: str) -> None:
    """Raises RunError for an archive of which nothing can be read."""
    found = f"there are {', '.join(names[:5])}" if names else "it is empty"
    raise RunError(f"{uri}: no file in the archive can be read ({found}); allowed are {allowed}")
