"""Texts of benchmarks, and the pairs that are left out because they are in one (decontamination).

Texts are compared without case, punctuation and spaces: a query or document that is equal to a text of a
benchmark, or that has a long run of words from one. Of each benchmark text every `WORDS`-th run of `WORDS` words is
kept, so that its hashes are few; a run of 2 * WORDS - 1 equal words is always found, shorter ones down to WORDS
words by chance. Where words are not set apart by spaces, equal texts alone are found.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gte_ray.data.hashing import digest, text_hashes
from gte_ray.data.ids import Report
from gte_ray.data.units import Unit, cut
from gte_ray.data.word_runs import normalised, word_runs
from gte_ray.errors import RunError
from gte_ray.readers.chunks import Chunk
from gte_ray.readers.formats import Piece, read_items
from gte_ray.readers.input_files import list_files
from gte_ray.readers.paths import ROW
from gte_ray.readers.reading import Reading
from gte_ray.readers.values import MOST_EXAMPLES, Dropped, Unused, keep_example, reason_to_drop
from gte_ray.runtime import storage
from gte_ray.runtime.pool import run_tasks
from gte_ray.runtime.storage import FileStamp

WORDS = 13
"""Words of a run, as GPT-3 has them (Brown et al., 2020, appendix C)."""
BEIR_FILES = ("queries.jsonl", "corpus.jsonl")
IN_BENCHMARK = Dropped("in a benchmark")
TEXTS = Reading(query=ROW, document="text")
BATCH_TEXTS = 10_000
"""Texts that are hashed at once."""
TABLE_BITS = 24
"""First bits of a hash, by which most that are not in a set are told."""


@dataclass(frozen=True)
class Hashes:
    """Sorted uint64 hashes of whole texts and of runs of words."""

    texts: np.ndarray
    runs: np.ndarray


class HashSet:
    """A set of sorted (n,) uint64 hashes. Most others are ruled out by their first bits, in a table."""

    def __init__(self, hashes: np.ndarray):
        self.hashes = hashes
        self.table = np.zeros(1 << TABLE_BITS, bool)
        self.table[self._first_bits(hashes)] = True

    def has(self, hashes: np.ndarray) -> np.ndarray:
        """(m,) bool: which of (m,) hashes are in the set."""
        found = self.table[self._first_bits(hashes)]
        likely = hashes[found]
        if not len(likely):
            return found
        positions = np.minimum(np.searchsorted(self.hashes, likely), max(len(self.hashes) - 1, 0))
        found[found] = self.hashes[positions] == likely
        return found

    @staticmethod
    def _first_bits(hashes: np.ndarray) -> np.ndarray:
        return hashes >> np.uint64(64 - TABLE_BITS)


class Known(NamedTuple):
    """The hashes of a store's benchmarks."""

    texts: HashSet
    runs: HashSet


def gather(uri: str, paths: Sequence[str], report: Report) -> str:
    """Writes the hashes of the texts of `paths` into the store at `uri`; the digest that identifies them.

    A path is a folder in BEIR's layout, or a file or pattern of files with a column `text`. Raises RunError for
    one that cannot be read.
    """
    files = [file for path in paths for file in _files(path)]
    texts: list[np.ndarray] = [np.empty(0, np.uint64)]
    runs = list(texts)
    for found in run_tasks(cut(files, TEXTS), _hash_unit):
        report("reading benchmarks", len(found.texts))
        texts.append(found.texts)
        runs.append(found.runs)
    hashes = Hashes(*(np.unique(np.concatenate(parts)) for parts in (texts, runs)))
    if not len(hashes.texts):
        raise RunError(f"--decontaminate {' '.join(paths)}: there is no text in a column 'text'")
    content = io.BytesIO()
    np.savez(content, texts=hashes.texts, runs=hashes.runs)
    name = digest(WORDS, *(sha256(part.tobytes()).hexdigest() for part in (hashes.texts, hashes.runs)))
    storage.write_bytes(location(uri, name), content.getvalue())
    return name


def location(uri: str, name: str) -> str:
    """Where a store keeps the hashes; empty without any."""
    return storage.join(uri, f"benchmarks-{name}.npz") if name else ""


def delete_others(uri: str, name: str) -> None:
    """Deletes the hashes of benchmarks that the store at `uri` was once prepared without."""
    for file in storage.glob(storage.join(uri, "benchmarks-*.npz")):
        if storage.name(file.uri) != storage.name(location(uri, name)):
            storage.delete(file.uri)


def without_benchmarks(chunk: Chunk, path: str) -> Chunk:
    """`chunk` without the pairs that are in a benchmark, which are counted. `path` is of `location`."""
    if not path or not chunk.table.num_rows:
        return chunk
    known = _load(path)
    (batch,) = chunk.table.combine_chunks().to_batches()
    inside = found_in(batch.column("query"), known) | found_in(batch.column("document"), known)
    if not inside.any():
        return chunk
    examples = {reason: list(rows) for reason, rows in chunk.examples.items()}
    for row in (
        batch.select(["query", "document"]).filter(pa.array(inside)).slice(0, MOST_EXAMPLES).to_pylist()
    ):
        keep_example(examples, IN_BENCHMARK.reason, row)
    dropped = {**chunk.dropped, IN_BENCHMARK.reason: int(inside.sum())}
    table = pa.Table.from_batches([batch.filter(pa.array(~inside))])
    return replace(chunk, table=table, dropped=dropped, examples=examples)


@lru_cache(maxsize=1)
def _load(path: str) -> Known:
    try:
        with np.load(io.BytesIO(storage.read_bytes(path))) as arrays:
            return Known(HashSet(arrays["texts"]), HashSet(arrays["runs"]))
    except FileNotFoundError as error:
        raise RunError(f"{path}: missing; give --decontaminate with the benchmarks again") from error


def _files(path: str) -> list[FileStamp]:
    place = f"--decontaminate {path}"
    inside = storage.files(path) if not storage.glob(path) else []
    found = [name for name in inside if name.removesuffix(".gz") in BEIR_FILES]
    if inside and not found:
        raise RunError(
            f"{place}: has neither {BEIR_FILES[0]} nor {BEIR_FILES[1]}; name files, as by {path}/*.jsonl"
        )
    patterns = [storage.join(path, name) for name in found] or [path]
    return [file for pattern in patterns for file in list_files(place, pattern, "", TEXTS)[0]]


def _hash_unit(unit: Unit) -> Iterator[Hashes]:
    """Hashes of the texts of some files. Raises RunError for a row that has none: a benchmark has to be whole."""
    rows = (row for piece in unit for row in _rows(piece))
    while batch := list(islice(rows, BATCH_TEXTS)):
        yield hashes_of(batch)


def _rows(piece: Piece) -> Iterator[tuple[str, str]]:
    """(text, title) of each row; either may be empty."""
    for item in read_items(piece, TEXTS):
        if isinstance(item, Unused):
            continue
        if isinstance(item, Dropped):
            raise RunError(f"{piece.uri}: a row of the benchmark cannot be read ({item.reason})")
        text, title = item.document or "", item.query.get("title") or ""
        for part in (text, title):
            if part and reason_to_drop(part):
                raise RunError(f"{piece.uri}: a text of the benchmark is none ({reason_to_drop(part)})")
        yield text, title


def hashes_of(rows: Sequence[tuple[str, str]]) -> Hashes:
    """Hashes of (text, title), each text with and without its title before it."""
    texts = [text for text, _ in rows]
    titled = [f"{title} {text}" for text, title in rows if title]
    words, whole = (normalised(pa.array(part, pa.large_string())) for part in (texts, texts + titled))
    kept = text_hashes(whole.filter(pc.not_equal(whole, ""))), _kept_runs(words)
    return Hashes(*map(np.unique, kept))


def found_in(texts: pa.Array, known: Known) -> np.ndarray:
    """(n,) bool: which of the texts are in a benchmark."""
    normal = normalised(texts)
    found = known.texts.has(text_hashes(normal))
    runs, owners, _ = word_runs(normal, WORDS)
    found[owners[known.runs.has(runs)]] = True
    return found


def _kept_runs(texts: pa.Array) -> np.ndarray:
    runs, _, positions = word_runs(texts, WORDS)
    return runs[positions % WORDS == 0]
