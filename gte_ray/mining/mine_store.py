"""A pair store to the same store with hard negatives (section 3.3, Appendix A.2).

For each source: its different texts are encoded in blocks, each block of queries searches all documents, and
each part is written again with negatives beside its pairs. What a step has finished stays on storage until
the source is done, so that the same command goes on where it was. Negatives are documents of the source's
training pairs, never held-out ones.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace

from gte_ray.data.finished import FinishedSources, of_input, write_manifest
from gte_ray.data.hashing import digest
from gte_ray.data.ids import Report
from gte_ray.data.inputs import staying_sources
from gte_ray.data.store import SourceInfo, Store, open_store
from gte_ray.errors import UsageError
from gte_ray.mining.choose import Window
from gte_ray.mining.pairs import SCRATCH, Pairs, number_pairs
from gte_ray.mining.search import Block, BlockDone, Encode, FindByBm25, FindByVectors, Search, Task
from gte_ray.mining.write import write_source
from gte_ray.pretrained.identity import identity
from gte_ray.pretrained.prompts import AS_THE_MODEL, GivenPrompts
from gte_ray.retrieval.bm25 import BM25
from gte_ray.runtime import storage
from gte_ray.runtime.pool import Pool, run_actors

MINING_VERSION = 1
"""Of what mining computes; a finished source of another version is mined again."""


def mine(
    store: Store,
    uri: str,
    model: str,
    window: Window,
    pool: Pool,
    *,
    sources: Sequence[str] = (),
    prompts: GivenPrompts = AS_THE_MODEL,
    report: Report = lambda phase, texts: None,
) -> Store:
    """Writes `store` with negatives that `model` finds to the store at `uri`; finished sources stay.

    So do sources that are there already and not among the chosen ones. `model` is what `load_model` takes, or BM25; `prompts` are put in place of its own.
    Ray must be initialised. Raises UsageError for settings out of range and RunError in one sentence.
    """
    if storage.absolute(uri).rstrip("/") == storage.absolute(store.uri).rstrip("/"):
        raise UsageError(f"OUT is {uri}; allowed is another place than that of the store that is mined")
    chosen = [store.source(name) for name in sources] or list(store.manifest.sources)
    names = [source.name for source in chosen]
    split = store.manifest.split
    staying_sources(uri, names, (), split)  # what cannot be is told before the work
    infos: dict[str, SourceInfo] = {}
    unfinished: dict[str, Pairs] = {}
    model_identity, earlier = identity(model), FinishedSources(uri)
    for source in chosen:
        fingerprint = _fingerprint(source, model_identity, window, prompts)
        finished = earlier.source(source.name, of_input(fingerprint))
        if finished is None:
            unfinished[source.name] = number_pairs(store, source, uri, fingerprint, window)
        else:
            infos[source.name] = finished
    tasks = {name: pairs.task for name, pairs in unfinished.items()}
    _search(Search(storage.absolute(store.uri), model, pool, tasks, prompts), report)
    for name, pairs in unfinished.items():
        infos[name] = write_source(store, uri, pairs, window, report)
        storage.delete(pairs.task.folder)
    if store.manifest.tokenizer is not None:
        _copy_folder(store.uri, uri, store.manifest.tokenizer.folder)
    staying = staying_sources(uri, names, (), split)
    write_manifest(uri, replace(store.manifest, sources=(*staying, *(infos[name] for name in names))))
    for folder in storage.folders(uri):
        if folder.startswith(SCRATCH):
            storage.delete(storage.join(uri, folder))  # of an earlier call with other settings
    return open_store(uri)


def _fingerprint(source: SourceInfo, model_identity: str, window: Window, prompts: GivenPrompts) -> str:
    """Of a source and of all settings that its negatives depend on."""
    tokenizer = asdict(source.tokenizer) if source.tokenizer else None
    given = [asdict(prompts)] if prompts else []
    return digest(MINING_VERSION, source.content, tokenizer, model_identity, window.identity(), *given)


def _search(search: Search, report: Report) -> None:
    """Encodes and searches what is not on storage yet; all sources in one go, as actors start slowly."""
    model, pool, tasks = search.model, search.pool, search.tasks
    queries = [Block(name, "query", n) for name, task in tasks.items() for n in range(task.queries.blocks)]
    documents = [
        Block(name, "document", n) for name, task in tasks.items() for n in range(task.documents.blocks)
    ]
    if model != BM25:
        missing = [b for b in (*queries, *documents) if not _is_there(tasks[b.source], b.column, b.number)]
        for done in run_actors(missing, Encode, search, pool):
            report(f"encoding {done.source}", done.texts)
    find: Callable[[Search], Callable[[Block], Iterator[BlockDone]]] = (
        FindByBm25 if model == BM25 else FindByVectors
    )
    missing = [b for b in queries if not _is_there(tasks[b.source], "found", b.number)]
    for done in run_actors(missing, find, search, pool):
        report(f"searching {done.source}", done.texts)


def _is_there(task: Task, kind: str, number: int) -> bool:
    return storage.exists(task.path(kind, number))


def _copy_folder(store: str, uri: str, folder: str) -> None:
    with storage.local_folder(storage.join(store, folder)) as local:
        storage.upload(local, storage.join(uri, folder))
