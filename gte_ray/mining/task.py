"""The search of some training pairs of a source: their texts by number, kept on storage with what is found.

A task is small, whatever it has to do: the driver holds those of all sources, and each actor is given them. Its numbers
are read where they are used.
"""

import io
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np

from gte_ray.mining.corpus import Corpus
from gte_ray.runtime import storage

BLOCK_TEXTS = 16_384
"""Number of texts encoded together, and of queries whose results are in one file."""


@dataclass(frozen=True)
class Numbers:
    """n pairs, u distinct queries, and v distinct documents that the corpus does not have, by number."""

    query_rows: np.ndarray
    """(u,) int64, ascending: the first row of the source with each query."""
    document_rows: np.ndarray
    """(v,) int64, ascending: the same of the documents."""
    queries: np.ndarray
    """(n,) int64, the number of each pair's query."""
    documents: np.ndarray
    """(n,) int64, the number of each pair's document; the passages of the corpus come first."""
    excluded: np.ndarray
    """(e, 2) int64, ascending: (query, document) pairs that are not candidates."""


@dataclass(frozen=True)
class Task:
    """The search for the pairs of a source in the rows first <= row < first + rows."""

    source: str
    folder: str
    """Folder that keeps numbers and results until the source is done."""
    first: int
    rows: int
    queries: int
    """Number of distinct queries."""
    documents: int
    """Number of distinct documents that the corpus does not have."""
    k: int
    """Number of documents to find per query."""
    corpus: Corpus | None = None
    """Passages that are candidates too."""

    @property
    def corpus_rows(self) -> int:
        return self.corpus.rows if self.corpus else 0

    @property
    def query_blocks(self) -> int:
        return -(-self.queries // BLOCK_TEXTS)

    @property
    def document_blocks(self) -> int:
        return -(-self.documents // BLOCK_TEXTS)

    @property
    def numbers(self) -> Numbers:
        return _read_numbers(self.folder)

    def query_rows(self, block: int) -> np.ndarray:
        return self.numbers.query_rows[block * BLOCK_TEXTS : (block + 1) * BLOCK_TEXTS]

    def document_rows(self, block: int) -> np.ndarray:
        return self.numbers.document_rows[block * BLOCK_TEXTS : (block + 1) * BLOCK_TEXTS]

    def path(self, kind: str, number: int) -> str:
        return vectors_path(self.folder, kind, number)

    def excluded_of(self, number: int, blocks: int = 1) -> np.ndarray:
        """Return the rows of `excluded` for the queries of some blocks, numbered from the first one's first."""
        start, stop = number * BLOCK_TEXTS, (number + blocks) * BLOCK_TEXTS
        excluded = self.numbers.excluded
        first, last = np.searchsorted(excluded[:, 0], [start, stop])
        return excluded[first:last] - [start, 0]

    def found(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the search found for the rows start <= row < stop of the source, m of them.

        Returns (m, k) documents and (m, k) scores for their queries, and the (m,) scores of their own documents.
        """
        rows = slice(start - self.first, stop - self.first)
        queries, documents = self.numbers.queries[rows], self.numbers.documents[rows]
        best = np.empty((len(queries), self.k), np.int64)
        scores = np.empty((len(queries), self.k), np.float32)
        own = np.empty(len(queries), np.float32)
        width, block_of_row = self.corpus_rows + self.documents, queries // BLOCK_TEXTS
        for block in np.unique(block_of_row):
            inside, result = block_of_row == block, read_arrays(self.path("found", int(block)))
            local = queries[inside] - block * BLOCK_TEXTS
            best[inside], scores[inside] = result["documents"][local], result["scores"][local]
            excluded = self.excluded_of(int(block))
            keys = excluded[:, 0] * width + excluded[:, 1]  # ascending, as `excluded` is
            own[inside] = result["excluded"][np.searchsorted(keys, local * width + documents[inside])]
        return best, scores, own


def write_numbers(folder: str, numbers: Numbers) -> None:
    write_arrays(numbers_path(folder), **asdict(numbers))


def numbers_path(folder: str) -> str:
    return storage.join(folder, "numbers.npz")


@lru_cache(maxsize=2)
def _read_numbers(folder: str) -> Numbers:
    return Numbers(**read_arrays(numbers_path(folder)))


def vectors_path(folder: str, kind: str, number: int) -> str:
    return storage.join(folder, f"{kind}-{number:05}.npz")


def write_arrays(uri: str, **arrays: np.ndarray) -> None:
    """Write the arrays to one file, completely or not at all."""
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    storage.write_bytes(uri, content.getvalue())


def read_arrays(uri: str) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(storage.read_bytes(uri)), allow_pickle=False) as arrays:
        return dict(arrays)
