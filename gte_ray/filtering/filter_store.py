"""A pair store to the same store without some of its pairs.

Three rules, each optional. Pairs that several sources have stay in one of them. Of documents that are nearly the same
one stays, and the pairs of the others leave, see `near`. A pair is consistent, and stays, if its
document is among the first k that a model finds for its query among the documents of a random sample of its source
(the filter of E5, 2212.03533, section 3.1). Store order is random, so the samples are pieces of the source, and the
work grows with the store rather than with its square. What a step has finished stays on storage until all is done, so
that the same command goes on where it was. Held-out pairs stay as they are.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from gte_ray.data.finished import finished_with
from gte_ray.data.hashing import digest
from gte_ray.data.ids import Report
from gte_ray.data.manifest import SourceInfo
from gte_ray.data.rewrite import (
    Changed,
    PartRows,
    Plan,
    check_place,
    finish,
    refuse_same_place,
    rewrite_sources,
)
from gte_ray.data.store import Store
from gte_ray.filtering.near import NEAR, NearDuplicates, find_near_duplicates
from gte_ray.filtering.rules import Rules
from gte_ray.filtering.unique import ELSEWHERE, HELD_OUT, Repeated, find_repeated
from gte_ray.mining.pairs import Wanted, number_pairs
from gte_ray.mining.run_search import run_search
from gte_ray.mining.search import Search
from gte_ray.mining.task import Task
from gte_ray.pretrained.identity import identity
from gte_ray.runtime import storage
from gte_ray.runtime.pool import Pool

FILTER_VERSION = 1
"""Of what is computed; a finished source of another version is filtered again."""
SCRATCH = ".filtering-"
INCONSISTENT = "inconsistent"
"""Reason of pairs whose document is not among the first for its query."""


def filter_store(
    store: Store,
    uri: str,
    rules: Rules,
    pool: Pool,
    *,
    sources: Sequence[str] = (),
    report: Report = lambda phase, pairs: None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Store:
    """Writes `store` without the pairs that `rules` leave out to the store at `uri`; finished sources stay.

    Only `sources` lose pairs, if there are any; the others are copied. Ray must be initialised. Raises UsageError for
    settings out of range and RunError in one sentence.
    """
    refuse_same_place(store, uri, "filtered")
    chosen = {info.name for info in store.chosen(sources)}
    infos = {info.name: info for info in store.manifest.sources}
    check_place(store, uri, infos)
    prints = _fingerprints(store, rules, chosen)
    done = finished_with(uri, prints, tell)
    waiting = [info for name, info in infos.items() if done[name] is None]
    compared = _compare(store, uri, rules, chosen, prints, report) if waiting else _Compared()
    judged = [info for info in waiting if info.name in chosen]
    samples = _search(store, rules, pool, _samples(uri, rules, judged, prints), report)
    plans = [
        Plan(
            info,
            prints[info.name],
            partial(_left, source=info.name, compared=compared, samples=samples[info.name])
            if info.name in chosen
            else _copy,
        )
        for info in waiting
    ]
    for info in rewrite_sources(store, uri, plans, report):
        done[info.name] = info
    return finish(store, uri, {name: info for name, info in done.items() if info is not None}, SCRATCH)


class _Compared(NamedTuple):
    """What sources have in common, by each rule that asks for it."""

    repeated: Repeated | None = None
    near: NearDuplicates | None = None


def _compare(
    store: Store, uri: str, rules: Rules, chosen: set[str], prints: Mapping[str, str], report: Report
) -> _Compared:
    key, order = digest(sorted(prints.items()))[:8], rules.order(store, chosen)
    unique, near = (
        storage.absolute(storage.join(uri, f"{SCRATCH}{rule}-{key}")) for rule in ("unique", "near")
    )
    return _Compared(
        find_repeated(store, order, unique, report) if rules.unique else None,
        find_near_duplicates(store, order, rules.near_duplicates, near, report)
        if rules.near_duplicates
        else None,
    )


def _fingerprints(store: Store, rules: Rules, chosen: set[str]) -> dict[str, str]:
    """Of each source and of all that decides which of its pairs stay."""
    split = asdict(store.manifest.split)
    order = rules.order(store, chosen) if rules.compares else ()
    others: list[Any] = [(name, store.source(name).content) for name in order]
    if rules.near_duplicates:
        others += [rules.near_duplicates, rules.unique]
    model = []
    if rules.model:
        given = [asdict(rules.prompts)] if rules.prompts else []
        model = [identity(rules.model), rules.among_first, rules.sample, *given]

    def of(info: SourceInfo) -> str:
        tokenizer = asdict(info.tokenizer) if info.tokenizer else None
        left = [others, model, split] if info.name in chosen else []
        return digest(FILTER_VERSION, info.content, tokenizer, left)

    return {info.name: of(info) for info in store.manifest.sources}


def _samples(
    uri: str, rules: Rules, sources: Sequence[SourceInfo], prints: Mapping[str, str]
) -> dict[str, list[Wanted]]:
    """For each source the searches of its samples, which are pieces of about the same size; none without a model."""
    samples: dict[str, list[Wanted]] = {info.name: [] for info in sources}
    for info in sources if rules.model else ():
        count = -(-info.rows // rules.sample)
        folder = storage.absolute(storage.join(uri, f"{SCRATCH}{info.name}-{prints[info.name][:8]}"))
        for number in range(count):
            first, stop = (info.rows * index // count for index in (number, number + 1))
            place = storage.join(folder, str(number))
            name = f"{info.name}/{number}"  # which no source is called
            samples[info.name].append(Wanted(name, info.name, first, stop, place, rules.among_first))
    return samples


def _search(
    store: Store, rules: Rules, pool: Pool, samples: Mapping[str, Sequence[Wanted]], report: Report
) -> dict[str, list[Task]]:
    """For each source the searches of its samples, done."""
    wanted = [one for of_source in samples.values() for one in of_source]
    tasks = number_pairs(store, wanted, None, report)
    run_search(Search(storage.absolute(store.uri), rules.model, pool, tasks, rules.prompts), report)
    return {name: [tasks[one.name] for one in of_source] for name, of_source in samples.items()}


def _copy(rows: PartRows, table: pa.Table) -> Changed:
    return Changed(table, "")


def _left(
    rows: PartRows, table: pa.Table, source: str, compared: _Compared, samples: Sequence[Task]
) -> Changed:
    """The pairs of a part that stay; one that two rules leave out is counted with the first."""
    leaves = np.zeros(len(table), bool)
    dropped: dict[str, int] = {}
    reasons = []
    if compared.repeated is not None:
        masks = compared.repeated.of(source, rows, table)
        reasons += list(zip((ELSEWHERE, HELD_OUT), masks, strict=True))
    if compared.near is not None:
        reasons.append((NEAR, compared.near.of(source, table)))
    if samples:
        reasons.append((INCONSISTENT, ~_consistent(rows, samples)))
    for reason, mask in reasons:
        new = mask & ~leaves
        if new.any():
            dropped[reason] = int(new.sum())
        leaves |= new
    if not leaves.any():
        return Changed(table, "")
    content = hashlib.sha256(np.packbits(leaves).tobytes()).hexdigest()
    return Changed(table.filter(pa.array(~leaves)), content, dropped)


def _consistent(rows: PartRows, samples: Sequence[Task]) -> np.ndarray:
    """(n,) bool: whose document fewer than k others are closer than."""
    near = np.zeros(rows.stop - rows.start, bool)
    for task in samples:
        start, stop = max(rows.start, task.first), min(rows.stop, task.first + task.rows)
        if start < stop:
            _, scores, own = task.found(start, stop)
            # BM25 finds no document that shares no word with the query, its own neither.
            near[start - rows.start : stop - rows.start] = (scores[:, -1] <= own) & (own > -np.inf)
    return near
