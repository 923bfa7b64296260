"""Run the searches of several tasks in Ray actors: encode all texts, then search; what is on storage is not done again."""

from collections.abc import Callable, Iterator, Sequence

from gte_ray.data.ids import Report
from gte_ray.mining.search import Block, BlockDone, Encode, FindByBm25, FindByVectors, Queries, Search
from gte_ray.mining.task import BLOCK_TEXTS, vectors_path
from gte_ray.retrieval.bm25 import BM25
from gte_ray.runtime import storage
from gte_ray.runtime.pool import run_actors

BLOCKS_AT_ONCE = 16
"""Most blocks of queries that are searched for together: the more, the fewer times all vectors of documents are read."""


def run_search(search: Search, report: Report) -> None:
    """Writes what each task's queries find to the task's folder; all tasks in one go, as actors start slowly."""
    if search.model != BM25:
        missing = [block for block in _texts(search) if not storage.exists(_path(search, block))]
        for done in run_actors(missing, Encode, search, search.pool):
            report(f"encoding {done.source}", done.texts)
    find: Callable[[Search], Callable[[Queries], Iterator[BlockDone]]] = (
        FindByBm25 if search.model == BM25 else FindByVectors
    )
    for done in run_actors(_queries(search), find, search, search.pool):
        report(f"searching {done.source}", done.texts)


def _texts(search: Search) -> Iterator[Block]:
    """All texts that are encoded."""
    if search.corpus is not None:
        for number in range(len(search.corpus.blocks(BLOCK_TEXTS))):
            yield Block("", "corpus", number)
    for name, task in search.tasks.items():
        yield from (Block(name, "query", number) for number in range(task.query_blocks))
        yield from (Block(name, "document", number) for number in range(task.document_blocks))


def _path(search: Search, block: Block) -> str:
    if block.column != "corpus":
        return search.tasks[block.task].path(block.column, block.number)
    assert search.corpus is not None
    return vectors_path(search.corpus.vectors, block.column, block.number)


def _queries(search: Search) -> list[Queries]:
    """The blocks of queries that have found nothing yet, in groups as large as leave no worker without one."""
    waiting = {
        name: [n for n in range(task.query_blocks) if not storage.exists(task.path("found", n))]
        for name, task in search.tasks.items()
    }
    count = sum(map(len, waiting.values()))
    size = min(BLOCKS_AT_ONCE, max(1, count // max(search.pool.workers, 1)))
    return [Queries(name, *group) for name, numbers in waiting.items() for group in _runs(numbers, size)]


def _runs(numbers: Sequence[int], size: int) -> Iterator[tuple[int, int]]:
    """First and length of runs of consecutive ones of ascending `numbers`, each of at most `size`."""
    start = 0
    for stop in range(1, len(numbers) + 1):
        if stop == len(numbers) or stop - start == size or numbers[stop] != numbers[stop - 1] + 1:
            yield numbers[start], stop - start
            start = stop
