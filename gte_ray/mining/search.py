"""Find documents for the queries of a source with an embedding model or BM25. Runs in Ray actors."""

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
from gte_ray.mining.corpus import Corpus
from gte_ray.mining.task import BLOCK_TEXTS, Task, read_arrays, vectors_path, write_arrays
from gte_ray.model.load import load_model
from gte_ray.pretrained.prompts import AS_THE_MODEL, GivenPrompts
from gte_ray.retrieval.bm25 import BM25_QUERIES, Bm25
from gte_ray.retrieval.nearest import Found, Nearest, nearest, row_bounds, take_out
from gte_ray.runtime.pool import Pool

MICRO_BATCH_TOKENS = 16_384
"""Fixed, like blocks and tiles, so that the same texts give the same bits on any number of workers."""


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
    corpus: Corpus | None = None
    """That of the tasks."""


class Block(NamedTuple):
    """Texts of a task, or of the corpus, that are encoded together."""

    task: str
    """Empty for the corpus."""
    column: Literal["query", "document", "corpus"]
    number: int


class Queries(NamedTuple):
    """Blocks of queries that are searched for together: all documents are read once for them."""

    task: str
    first: int
    blocks: int


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
        embed = self.model.queries if column == "query" else self.model.documents
        if column == "corpus":
            corpus = self.search.corpus
            assert corpus is not None
            source, path = "the corpus", vectors_path(corpus.vectors, column, number)
            texts = corpus.read(np.arange(*corpus.blocks(BLOCK_TEXTS)[number]), "document").to_pylist()
        else:
            task = self.search.tasks[name]
            source, path = task.source, task.path(column, number)
            rows = task.query_rows(number) if column == "query" else task.document_rows(number)
            texts = read_texts(self.store, source, rows, column)
        vectors = embed(texts, MICRO_BATCH_TOKENS)
        write_arrays(path, vectors=vectors)
        yield BlockDone(source, len(vectors))


class FindByVectors:
    """An actor that finds the best documents for blocks of queries, by the vectors on storage."""

    def __init__(self, search: Search):
        torch.set_num_threads(search.pool.threads)
        self.search = search

    def __call__(self, asked: Queries) -> Iterator[BlockDone]:
        task = self.search.tasks[asked.task]
        numbers = range(asked.first, asked.first + asked.blocks)
        queries = torch.cat([self._vectors(task.path("query", number)) for number in numbers])
        excluded = torch.from_numpy(task.excluded_of(asked.first, asked.blocks))
        found = nearest(queries, self._documents(task), task.k, excluded)
        bounds = row_bounds(excluded, torch.arange(asked.blocks + 1) * BLOCK_TEXTS)
        for number, (first, last) in zip(numbers, pairwise(bounds), strict=True):
            rows = slice((number - asked.first) * BLOCK_TEXTS, (number - asked.first + 1) * BLOCK_TEXTS)
            part = Found(found.scores[rows], found.documents[rows], found.excluded[first:last])
            yield _write_found(task, number, part)

    def _documents(self, task: Task) -> Iterator[Tensor]:
        if task.corpus is not None:
            for number in range(len(task.corpus.blocks(BLOCK_TEXTS))):
                yield self._vectors(vectors_path(task.corpus.vectors, "corpus", number))
        for number in range(task.document_blocks):
            yield self._vectors(task.path("document", number))

    def _vectors(self, path: str) -> Tensor:
        return torch.from_numpy(read_arrays(path)["vectors"]).to(self.search.pool.device)


class FindByBm25:
    """An actor with an index of all documents of a task that finds the best for blocks of queries."""

    def __init__(self, search: Search):
        self.search = search
        self.store = open_store(search.store, check=False)
        self.task, self.index = "", Bm25([])

    def __call__(self, asked: Queries) -> Iterator[BlockDone]:
        task = self.search.tasks[asked.task]
        if self.task != asked.task:
            documents = read_texts(self.store, task.source, task.numbers.document_rows, "document")
            if task.corpus is not None:
                corpus = task.corpus.read(np.arange(task.corpus.rows), "document")
                documents = [*corpus.to_pylist(), *documents]
            self.task, self.index = asked.task, Bm25(documents)
        for number in range(asked.first, asked.first + asked.blocks):
            yield self._find(task, number)

    def _find(self, task: Task, number: int) -> BlockDone:
        queries = read_texts(self.store, task.source, task.query_rows(number), "query")
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
        return _write_found(task, number, Found(*(torch.cat(part) for part in zip(*parts, strict=True))))


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
