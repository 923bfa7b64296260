"""Find documents for the queries of a source with an embedding model or BM25. Runs in Ray actors."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from gte_ray.data.step_plan import ROW_GROUP_ROWS
from gte_ray.data.store import Store, open_store
from gte_ray.model.load import load_model
from gte_ray.pretrained.prompts import AS_THE_MODEL, GivenPrompts
from gte_ray.retrieval.bm25 import BM25_QUERIES, Bm25
from gte_ray.retrieval.nearest import Found, Nearest, nearest, row_bounds, take_out
from gte_ray.runtime import storage
from gte_ray.runtime.pool import Pool

BLOCK_TEXTS = 16_384
"""Number of texts encoded together, and of queries searched together."""
MICRO_BATCH_TOKENS = 16_384
"""Fixed, like blocks and tiles, so that the same texts give the same bits on any number of workers."""


@dataclass(frozen=True)
class Texts:
    """The distinct queries or the distinct documents of a source."""

    rows: np.ndarray
    """(u,) int64, ascending: the first row with each text."""

    @property
    def blocks(self) -> int:
        return -(-len(self.rows) // BLOCK_TEXTS)

    def block(self, number: int) -> np.ndarray:
        return self.rows[number * BLOCK_TEXTS : (number + 1) * BLOCK_TEXTS]


@dataclass(frozen=True)
class Task:
    """The search of one source, or of some of its rows."""

    source: str
    folder: str
    """Folder that keeps the results until the source is done."""
    queries: Texts
    documents: Texts
    excluded: np.ndarray
    """(e, 2) int64, ascending: (query, document) pairs that are not candidates."""
    k: int
    """Number of documents to find per query."""

    def path(self, kind: str, number: int) -> str:
        return storage.join(self.folder, f"{kind}-{number:05}.npz")

    def excluded_of(self, number: int) -> np.ndarray:
        """Return the rows of `excluded` for the queries of a block, numbered from the block's first."""
        first, last = np.searchsorted(self.excluded[:, 0], [number * BLOCK_TEXTS, (number + 1) * BLOCK_TEXTS])
        return self.excluded[first:last] - [number * BLOCK_TEXTS, 0]


@dataclass(frozen=True)
class Search:
    """What all actors need."""

    store: str
    model: str
    pool: Pool
    tasks: dict[str, Task]
    """By name."""
    prompts: GivenPrompts = AS_THE_MODEL
    """Prompts in place of the model's own."""


class Block(NamedTuple):
    """What an actor is given: texts of a task that are encoded, or queries that are searched for, together."""

    task: str
    column: Literal["query", "document"]
    number: int


class BlockDone(NamedTuple):
    source: str
    texts: int


class Encode:
    """An actor with the model: encodes a block of texts to vectors of length 1 on storage."""

    def __init__(self, search: Search):
        torch.set_num_threads(search.pool.threads)
        self.search = search
        self.model = load_model(
            search.model, search.pool.device, half=search.pool.gpu, prompts=search.prompts
        )
        self.store = open_store(search.store, check=False)

    def __call__(self, block: Block) -> Iterator[BlockDone]:
        name, column, number = block
        task = self.search.tasks[name]
        texts = task.queries if column == "query" else task.documents
        block_texts = read_texts(self.store, task.source, texts.block(number), column)
        embed = self.model.queries if column == "query" else self.model.documents
        vectors = embed(block_texts, MICRO_BATCH_TOKENS)
        write_arrays(task.path(column, number), vectors=vectors)
        yield BlockDone(task.source, len(vectors))


class FindByVectors:
    """An actor that finds the best documents for a block of queries, by the vectors on storage."""

    def __init__(self, search: Search):
        torch.set_num_threads(search.pool.threads)
        self.search = search

    def __call__(self, block: Block) -> Iterator[BlockDone]:
        task, number = self.search.tasks[block.task], block.number
        documents = (self._vectors(task, "document", other) for other in range(task.documents.blocks))
        queries, excluded = self._vectors(task, "query", number), torch.from_numpy(task.excluded_of(number))
        yield _write_found(task, number, nearest(queries, documents, task.k, excluded))

    def _vectors(self, task: Task, column: str, number: int) -> Tensor:
        return torch.from_numpy(read_arrays(task.path(column, number))["vectors"]).to(self.search.pool.device)


class FindByBm25:
    """An actor with an index of a source's documents that finds the best for a block of queries."""

    def __init__(self, search: Search):
        self.search = search
        self.store = open_store(search.store, check=False)
        self.task, self.index = "", Bm25([])

    def __call__(self, block: Block) -> Iterator[BlockDone]:
        task, number = self.search.tasks[block.task], block.number
        if self.task != block.task:
            documents = read_texts(self.store, task.source, task.documents.rows, "document")
            self.task, self.index = block.task, Bm25(documents)
        queries = read_texts(self.store, task.source, task.queries.block(number), "query")
        excluded = torch.from_numpy(task.excluded_of(number))
        bounds = torch.arange(0, len(queries) + BM25_QUERIES, BM25_QUERIES)
        parts = []
        for start, (first, last) in zip(bounds, pairwise(row_bounds(excluded, bounds)), strict=False):
            scores = torch.from_numpy(self.index.scores(queries[start : start + BM25_QUERIES]))
            scores[scores <= 0] = -torch.inf  # no word in common: not retrieved
            best = Nearest(len(scores), task.k, scores.device)
            taken_out = take_out(scores, excluded[first:last] - torch.tensor([int(start), 0]))
            best.add(scores)
            parts.append(Found(best.scores, best.documents, taken_out))
        yield _write_found(task, number, Found(*(torch.cat(part) for part in zip(*parts, strict=True))))


def _write_found(task: Task, number: int, result: Found) -> BlockDone:
    write_arrays(task.path("found", number), **{k: v.cpu().numpy() for k, v in result._asdict().items()})
    return BlockDone(task.source, len(result.scores))


def read_texts(store: Store, source: str, rows: np.ndarray, column: str) -> list[str]:
    """Return the texts of ascending `rows` of a source."""
    return read_column(store, source, rows, column).to_pylist()


def read_column(store: Store, source: str, rows: np.ndarray, column: str) -> pa.Array:
    """Return a column of ascending `rows` of a source; reads only their row groups, keeps only these rows."""
    parts = []
    gaps = np.flatnonzero(np.diff(rows // ROW_GROUP_ROWS) > 1) + 1  # row groups in between are not read
    cuts = np.unique([0, *gaps, *range(0, len(rows), BLOCK_TEXTS), len(rows)])
    for start, stop in pairwise(cuts):
        chosen = rows[start:stop]
        read = store.read_rows(source, int(chosen[0]), int(chosen[-1]) + 1, [column])
        parts += read.column(0).take(pa.array(chosen - chosen[0])).chunks
    return pa.concat_arrays(parts or store.read_rows(source, 0, 0, [column]).column(0).chunks)


def write_arrays(uri: str, **arrays: np.ndarray) -> None:
    """Write the arrays to one file, completely or not at all."""
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    storage.write_bytes(uri, content.getvalue())


def read_arrays(uri: str) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(storage.read_bytes(uri)), allow_pickle=False) as arrays:
        return dict(arrays)
