"""The files that a pattern, an address or the folder of a data set names."""

import os
from collections import Counter
from fnmatch import fnmatchcase

from gte_ray.errors import RunError
from gte_ray.readers.dataset_folder import HUB, WHOLE, Chosen, is_data_set, split_files
from gte_ray.readers.formats import SUFFIXES, kind_of
from gte_ray.readers.reading import Reading
from gte_ray.runtime import storage
from gte_ray.runtime.listing import MAGIC
from gte_ray.runtime.storage import FileStamp

Globs = str | tuple[str, ...]
"""A pattern, an address or a folder, or several."""


def list_files(
    place: str, globs: Globs, exclude: str, reading: Reading, chosen: Chosen = WHOLE
) -> tuple[list[FileStamp], dict[str, int]]:
    """The files that `globs` name, each once, and that can be read; numbers of others by suffix.

    Raises RunError that begins with `place` if there are none of one of them, or if they cannot be listed.
    """
    files: dict[str, FileStamp] = {}
    others: Counter[str] = Counter()
    for glob in (globs,) if isinstance(globs, str) else globs:
        found, not_read = _list_files(place, glob, exclude, reading, chosen)
        others.update(not_read)
        files |= {file.uri: file for file in found}
    return list(files.values()), dict(others)


def _list_files(
    place: str, glob: str, exclude: str, reading: Reading, chosen: Chosen
) -> tuple[list[FileStamp], Counter[str]]:
    try:
        storage.check_reachable(glob)
        found = _found(place, glob, chosen)
    except RunError:
        raise
    except Exception as error:  # each remote file system raises its own errors
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(f"{place}: {glob} cannot be listed ({reason})") from error
    if exclude:
        found = [file for file in found if not fnmatchcase(storage.name(file.uri), exclude)]
    files = [file for file in found if kind_of(file.uri, reading)]
    if not files:
        raise RunError(
            f"{place}: no file matches {glob}; allowed are {', '.join(SUFFIXES)}, "
            "text files also with .gz, .zst, .bz2 or .xz, and archives of such files (.zip, .7z, .tar and .tar.gz, ...)"
        )
    names = [storage.name(file.uri) for file in found if not kind_of(file.uri, reading)]
    others = Counter(os.path.splitext(name)[1] or name for name in names)
    return files, others


def _found(place: str, glob: str, chosen: Chosen) -> list[FileStamp]:
    pattern = glob.startswith("hf://") and any(character in glob for character in MAGIC)
    if not pattern and storage.is_folder(glob) and (chosen != WHOLE or is_data_set(glob)):
        return split_files(place, glob, chosen)
    if HUB.fullmatch(glob):
        raise RunError(
            f"{place}: the Hub has no {glob}; one that is private or asks for consent needs HF_TOKEN"
        )
    if chosen != WHOLE:
        raise RunError(f"{place}: config and split are of a data set's folder; {glob} is none")
    found = storage.glob(glob)
    if not found and storage.exists(glob):
        raise RunError(f"{place}: {glob} is a folder; name its files, as by {glob}/*")
    return found
