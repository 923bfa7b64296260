"""Run the searches of several tasks in Ray actors: encode all texts, then search; what is on storage is not done again."""

from collections.abc import Callable, Iterator

from gte_ray.data.ids import Report
from gte_ray.mining.search import Block, BlockDone, Encode, FindByBm25, FindByVectors, Search, Task
from gte_ray.retrieval.bm25 import BM25
from gte_ray.runtime import storage
from gte_ray.runtime.pool import run_actors


def run_search(search: Search, report: Report) -> None:
    """Writes what each task's queries find to the task's folder; all tasks in one go, as actors start slowly."""
    model, pool, tasks = search.model, search.pool, search.tasks
    queries = [Block(name, "query", n) for name, task in tasks.items() for n in range(task.queries.blocks)]
    documents = [
        Block(name, "document", n) for name, task in tasks.items() for n in range(task.documents.blocks)
    ]
    if model != BM25:
        missing = [b for b in (*queries, *documents) if not _is_there(tasks[b.task], b.column, b.number)]
        for done in run_actors(missing, Encode, search, pool):
            report(f"encoding {done.source}", done.texts)
    find: Callable[[Search], Callable[[Block], Iterator[BlockDone]]] = (
        FindByBm25 if model == BM25 else FindByVectors
    )
    missing = [b for b in queries if not _is_there(tasks[b.task], "found", b.number)]
    for done in run_actors(missing, find, search, pool):
        report(f"searching {done.source}", done.texts)


def _is_there(task: Task, kind: str, number: int) -> bool:
    return storage.exists(task.path(kind, number))
