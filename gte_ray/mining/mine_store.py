"""A pair store to the same store with hard negatives (section 3.3, Appendix A.2).

For each source: its different texts are encoded in blocks, each block of queries searches all documents, and
each part is written again with negatives beside its pairs. What a step has finished stays on storage until
the source is done, so that the same command goes on where it was. Negatives are documents of the source's
training pairs, never held-out ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

from gte_ray.data.finished import finished_with
from gte_ray.data.hashing import digest
from gte_ray.data.ids import Report
from gte_ray.data.manifest import ITS_FILES, SourceInfo
from gte_ray.data.rewrite import Plan, check_place, finish, refuse_same_place, rewrite_sources
from gte_ray.data.store import Store
from gte_ray.errors import RunError
from gte_ray.mining.answers import gather_answers
from gte_ray.mining.choose import Window
from gte_ray.mining.corpus import GivenFiles, gather_corpus
from gte_ray.mining.pairs import Wanted, number_pairs
from gte_ray.mining.run_search import run_search
from gte_ray.mining.search import Search
from gte_ray.mining.write import with_negatives
from gte_ray.pretrained.identity import identity
from gte_ray.pretrained.prompts import AS_THE_MODEL, GivenPrompts
from gte_ray.runtime import storage
from gte_ray.runtime.pool import Pool

SCRATCH = ".mining-"
"""Prefix of the folders of sources that are not done."""
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
    corpus: GivenFiles | None = None,
    answers: GivenFiles | None = None,
    report: Report = lambda phase, texts: None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Store:
    """Writes `store` with negatives that `model` finds to the store at `uri`; finished sources stay.

    So do sources that are there already and not among the chosen ones. `model` is what `load_model` takes, or BM25; `prompts`
    are put in place of its own. The passages of `corpus`, which lie in the store at `uri`, are candidates besides the
    documents of each source; one with an answer of its query among `answers` is no negative. Ray must be initialised.
    Raises UsageError for settings out of range and RunError in one sentence.
    """
    refuse_same_place(store, uri, "mined")
    chosen = store.chosen(sources)
    _refuse_scored(store, chosen)
    check_place(store, uri, [source.name for source in chosen])
    model_identity = identity(model)
    given: list[object] = [asdict(prompts)] if prompts else []
    given += [files.identity for files in (corpus, answers) if files]
    prints = {info.name: _fingerprint(info, model_identity, window, given) for info in chosen}
    done = finished_with(uri, prints, tell)
    waiting = [source for source in chosen if done[source.name] is None]
    known = passages = None
    if answers is not None and waiting:
        known = gather_answers(store, uri, answers, chosen, SCRATCH, report)
    if corpus is not None and waiting:
        passages = gather_corpus(uri, corpus, SCRATCH, digest(model_identity, asdict(prompts)), report)
    wanted = [_wanted(uri, source, prints[source.name], window) for source in waiting]
    tasks = number_pairs(store, wanted, passages, report)
    run_search(Search(storage.absolute(store.uri), model, pool, tasks, prompts, passages), report)
    change = partial(with_negatives, store=store, window=window, answers=known)
    plans = [Plan(info, prints[info.name], partial(change, task=tasks[info.name])) for info in waiting]
    for info in rewrite_sources(store, uri, plans, report):
        done[info.name] = info
        storage.delete(tasks[info.name].folder)
    return finish(store, uri, {name: info for name, info in done.items() if info is not None}, SCRATCH)


def _refuse_scored(store: Store, sources: Sequence[SourceInfo]) -> None:
    scored = [source for source in sources if source.teacher]
    if any(source.teacher == ITS_FILES for source in scored):
        remedy = "a store that was prepared without them: name query, document and negatives, and no score, in a file of sources"
    else:
        remedy = "first and to score (`python -m gte_ray.score`) the store that comes of it"
    if scored:
        raise RunError(
            f"{store.uri}: {', '.join(source.name for source in scored)} have scores of a teacher, which more negatives "
            f"would lack; allowed is to mine {remedy}"
        )


def _wanted(uri: str, source: SourceInfo, fingerprint: str, window: Window) -> Wanted:
    """The search for all pairs of a source."""
    folder = storage.absolute(storage.join(uri, f"{SCRATCH}{source.name}-{fingerprint[:8]}"))
    return Wanted(source.name, source.name, 0, source.rows, folder, window.last_rank)


def _fingerprint(source: SourceInfo, model_identity: str, window: Window, given: Sequence[object]) -> str:
    """Of a source and of all settings that its negatives depend on."""
    tokenizer = asdict(source.tokenizer) if source.tokenizer else None
    return digest(MINING_VERSION, source.content, tokenizer, model_identity, window.identity(), *given)
