"""Passages that negatives are found among besides a source's own documents, such as MS MARCO's (section 3.3, Appendix A.2).

Each distinct text is there once, numbered by its place. Its vectors are encoded once for all sources.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import accumulate

import numpy as np
import pyarrow as pa

from gte_ray.data.hashing import digest, text_hashes
from gte_ray.data.ids import Report
from gte_ray.data.journal import read_records, write_record
from gte_ray.data.manifest import Part
from gte_ray.data.step_plan import ROW_GROUP_ROWS
from gte_ray.data.units import Unit, cut
from gte_ray.errors import RunError, UsageError
from gte_ray.readers.formats import read_items
from gte_ray.readers.input_files import list_files
from gte_ray.readers.paths import ROW
from gte_ray.readers.reading import Reading
from gte_ray.readers.values import Dropped, Drops, Unused, reason_to_drop
from gte_ray.runtime import storage
from gte_ray.runtime.parquet import open_parquet, write_parquet
from gte_ray.runtime.pool import run_tasks
from gte_ray.runtime.storage import FileStamp

REPEATED = "repeated"
"""Reason of passages whose text an earlier one has."""


@dataclass(frozen=True)
class Passages:
    """What one task read."""

    part: Part
    """With its URI."""
    dropped: dict[str, int]


@dataclass(frozen=True)
class Corpus:
    vectors: str
    """Folder of the vectors, which are of one model."""
    parts: tuple[Part, ...]
    dropped: dict[str, int] = field(default_factory=dict)
    """Number of rows that are no passage of their own, by reason."""

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    def numbers(self, hashes: np.ndarray) -> np.ndarray:
        """(n,) int64: the numbers of the passages with n hashes; -1 for none."""
        own, order = _sorted_hashes(self.parts)
        places = np.minimum(np.searchsorted(own, hashes, sorter=order), self.rows - 1)
        return np.where(own[order[places]] == hashes, order[places], -1)

    def blocks(self, size: int) -> list[tuple[int, int]]:
        """The first and last numbers, exclusively, of blocks of at most `size` passages of one part."""
        ends = list(accumulate(part.rows for part in self.parts))
        return [
            (start, min(start + size, end))
            for part, end in zip(self.parts, ends, strict=True)
            for start in range(end - part.rows, end, size)
        ]

    def read(self, numbers: np.ndarray, column: str) -> pa.Array:
        """A column of passages by ascending numbers: `document` or `document_hash`."""
        ends = np.cumsum([0, *(part.rows for part in self.parts)])
        arrays = []
        for part, first, inside in zip(
            self.parts, ends, np.split(numbers, np.searchsorted(numbers, ends[1:-1])), strict=False
        ):
            if not len(inside):
                continue
            chosen = inside - first
            groups = np.unique(chosen // ROW_GROUP_ROWS)
            file = open_parquet(part.path)
            read = file.read_row_groups(groups.tolist(), columns=[column], use_threads=False)
            places = (
                np.searchsorted(groups, chosen // ROW_GROUP_ROWS) * ROW_GROUP_ROWS + chosen % ROW_GROUP_ROWS
            )
            arrays += read.column(0).take(pa.array(places)).chunks
        kind = pa.uint64() if column == "document_hash" else pa.large_string()
        return pa.concat_arrays(arrays) if arrays else pa.array([], kind)


@lru_cache(maxsize=1)
def _sorted_hashes(parts: tuple[Part, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(rows,) uint64 hashes of all passages, and the order in which they ascend."""
    hashes = np.concatenate([_hashes(part.path) for part in parts])
    return hashes, np.argsort(hashes)


@dataclass(frozen=True)
class GivenFiles:
    """A corpus before it is read."""

    glob: str
    reading: Reading
    """`document` makes the text of a row."""
    files: tuple[FileStamp, ...]

    @property
    def identity(self) -> str:
        """Of the files and of what is read of them."""
        return digest(self.reading.given, self.files)


def list_corpus(glob: str, text: str, columns: tuple[str, ...]) -> GivenFiles:
    """The files of a corpus. Raises RunError if there are none, UsageError for settings that cannot be followed."""
    return list_given("--corpus", glob, "--corpus-text or --corpus-columns", ROW, text, columns=columns)


def list_given(
    flag: str, glob: str, settings: str, query: str, document: str, *, columns: tuple[str, ...] = ()
) -> GivenFiles:
    """The files that `flag` names, read as `settings`, names of flags too, say; see `list_corpus`."""
    try:
        reading = Reading(query=query, document=document, columns=columns)
    except UsageError as error:
        raise UsageError(f"{settings}: {error}") from error
    return GivenFiles(glob, reading, tuple(list_files(flag, glob, "", reading)[0]))


def gather_corpus(uri: str, given: GivenFiles, scratch: str, model: str, report: Report) -> Corpus:
    """Reads the passages into a folder of the store at `uri`, whose name begins with `scratch`.

    What an earlier call has read stays; `model` identifies whose the vectors are. Ray must be initialised. Raises
    RunError if there are no passages, or if a file cannot be read.
    """
    reading = given.reading
    folder = storage.absolute(storage.join(uri, f"{scratch}corpus-{given.identity[:8]}"))
    units = list(enumerate(cut(given.files, reading)))
    done = read_records(folder, Passages, lambda passages: [(passages.part.path, passages.part.bytes)])
    missing = [unit for unit in units if f"{unit[0]:05}" not in done]
    for number, passages in run_tasks(missing, partial(_read_unit, folder=folder, reading=reading)):
        report("reading the corpus", passages.part.rows)
        done[f"{number:05}"] = passages
    read = [done[f"{number:05}"] for number, _ in units]
    dropped = Counter[str]()
    for passages in read:
        dropped.update(passages.dropped)
    parts = _once([passages.part for passages in read])
    dropped[REPEATED] = sum(passages.part.rows for passages in read) - sum(part.rows for part in parts)
    corpus = Corpus(
        storage.join(folder, model),
        tuple(part for part in parts if part.rows),
        {k: n for k, n in dropped.items() if n},
    )
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in corpus.dropped.items())
    if not corpus.rows:
        raise RunError(
            f"--corpus {given.glob}: no row has a text {reading.document!r} ({reasons or 'there are no rows'}); "
            "--corpus-text says where it is"
        )
    report(f"corpus of {corpus.rows:,} passages" + (f", left out: {reasons}" if reasons else ""), 0)
    return corpus


def _read_unit(unit: tuple[int, Unit], folder: str, reading: Reading) -> Iterator[tuple[int, Passages]]:
    number, pieces = unit
    texts: list[str] = []
    drops = Drops()
    for piece in pieces:
        for item in read_items(piece, reading):
            if isinstance(item, Unused):
                continue
            if isinstance(item, Dropped):
                drops.add(item)
                continue
            text = item.document or ""
            reason = reason_to_drop(text)
            if reason:
                drops.add(Dropped(reason))
            else:
                texts.append(text)
    array = pa.array(texts, pa.large_string())
    table = pa.table({"document": array, "document_hash": pa.array(text_hashes(array), pa.uint64())})
    uri = storage.join(folder, f"part-{number:05}.parquet")
    size = write_parquet(table, uri, ROW_GROUP_ROWS)
    passages = Passages(Part(uri, len(texts), size), dict(drops.counts))
    write_record(folder, f"{number:05}", passages)
    yield number, passages


def _once(parts: Sequence[Part]) -> list[Part]:
    """The parts without texts that an earlier one has, or the same one before."""
    hashes = [_hashes(part.path) for part in parts]
    every = np.concatenate(hashes)
    new = np.zeros(len(every), bool)
    new[np.unique(every, return_index=True)[1]] = True
    kept = np.split(new, np.cumsum([len(some) for some in hashes])[:-1])
    jobs = [(part, np.flatnonzero(~mask)) for part, mask in zip(parts, kept, strict=True) if not mask.all()]
    shorter = dict(run_tasks(jobs, _write_distinct))
    return [shorter.get(part.path, part) for part in parts]


def _write_distinct(job: tuple[Part, np.ndarray]) -> Iterator[tuple[str, Part]]:
    """A part without the rows that are repeated, in a file of its own, by the part's URI."""
    part, repeated = job
    table = open_parquet(part.path).read(use_threads=False)
    mask = np.ones(len(table), bool)
    mask[repeated] = False
    folder, _, name = part.path.rpartition("/")
    uri = f"{folder}/{name.replace('part', 'distinct')}"
    size = write_parquet(table.filter(pa.array(mask)), uri, ROW_GROUP_ROWS)
    yield part.path, Part(uri, part.rows - len(repeated), size)


def _hashes(uri: str) -> np.ndarray:
    return open_parquet(uri).read(columns=["document_hash"], use_threads=False).column(0).to_numpy()
