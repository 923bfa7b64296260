"""A pair store to the same store with a teacher's scores beside its pairs and hard negatives, for distillation.

Negatives that the teacher scores too near to their pair, or above it, can be left out: they are likely positives.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa

from gte_ray.data.finished import finished_with
from gte_ray.data.hashing import digest
from gte_ray.data.ids import Report
from gte_ray.data.manifest import SourceInfo
from gte_ray.data.negatives import flat, list_array
from gte_ray.data.rewrite import (
    Changed,
    PartRows,
    Plan,
    check_place,
    column_array,
    finish,
    refuse_same_place,
    rewrite_sources,
)
from gte_ray.data.store import Store
from gte_ray.mining.choose import below, check_relative_margin
from gte_ray.mining.teacher import Scoring, give_scores, scores_of
from gte_ray.pretrained.files import is_folder
from gte_ray.pretrained.identity import identity
from gte_ray.pretrained.prompts import AS_THE_MODEL, GivenPrompts
from gte_ray.readers.values import NEGATIVE_SCORES, PAIR_SCORE
from gte_ray.runtime import storage
from gte_ray.runtime.pool import Pool

SCRATCH = ".scoring-"
"""Prefix of the folders of sources that are not done."""
SCORING_VERSION = 1
"""Of what scoring computes; a finished source of another version is scored again."""
TOO_NEAR = "scored too near to their pair by the teacher"


@dataclass(frozen=True)
class Margins:
    """Which hard negatives stay, by a teacher's scores: all without a margin."""

    margin: float = float("-inf")
    """Least distance of a negative's score below the pair's."""
    relative_margin: float = float("-inf")
    """The same as a share of the pair's score, whose sign does not matter."""

    def __post_init__(self) -> None:
        check_relative_margin(self.relative_margin)


def score(
    store: Store,
    uri: str,
    model: str,
    margins: Margins,
    pool: Pool,
    *,
    sources: Sequence[str] = (),
    prompts: GivenPrompts = AS_THE_MODEL,
    report: Report = lambda phase, pairs: None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Store:
    """Writes `store` with the scores of `model` to the store at `uri`; finished sources stay, as `mine` has them.

    `model` is what `load_scorer` takes. Ray must be initialised. Raises UsageError and RunError in one sentence.
    """
    refuse_same_place(store, uri, "scored")
    chosen = store.chosen(sources)
    check_place(store, uri, [source.name for source in chosen])
    teacher, model_identity = _called(model), identity(model)
    prints = {info.name: _fingerprint(info, model_identity, margins, prompts) for info in chosen}
    done = finished_with(uri, prints, tell)
    waiting = [source for source in chosen if done[source.name] is None]
    folders = {
        source.name: storage.absolute(storage.join(uri, f"{SCRATCH}{source.name}-{prints[source.name][:8]}"))
        for source in waiting
    }
    scoring = Scoring(storage.absolute(store.uri), model, pool, folders, prompts)
    give_scores(scoring, waiting, report)
    plans = [
        Plan(
            replace(source, teacher=teacher),
            prints[source.name],
            partial(with_scores, source=source.name, scoring=scoring, margins=margins),
        )
        for source in waiting
    ]
    for info in rewrite_sources(store, uri, plans, report):
        done[info.name] = info
        storage.delete(folders[info.name])
    return finish(store, uri, {name: info for name, info in done.items() if info is not None}, SCRATCH)


def with_scores(rows: PartRows, table: pa.Table, source: str, scoring: Scoring, margins: Margins) -> Changed:
    """A part with the scores of its pairs and their negatives, in place of those that it had."""
    pairs, negatives = scores_of(scoring, source, rows)
    _, offsets = flat(column_array(table, "negative_hashes"))
    owners = np.repeat(np.arange(len(table)), np.diff(offsets))
    kept = np.flatnonzero(below(negatives, pairs[owners], margins.margin, margins.relative_margin))
    ends = np.concatenate([[0], np.cumsum(np.bincount(owners[kept], minlength=len(table)))])
    for name in ("negatives", "negative_hashes", "negative_ids"):
        if name in table.column_names:
            items, _ = flat(column_array(table, name))
            table = _with(table, name, list_array(ends, items.take(pa.array(kept))))
    table = _with(table, PAIR_SCORE, pa.array(pairs, pa.float32()))
    table = _with(table, NEGATIVE_SCORES, list_array(ends, pa.array(negatives[kept], pa.float32())))
    content = hashlib.sha256(pairs.tobytes() + negatives.tobytes() + kept.tobytes()).hexdigest()
    lost = len(negatives) - len(kept)
    return Changed(table, content, lost_negatives={TOO_NEAR: lost} if lost else {})


def _with(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, column)
    return table.append_column(name, column)


def _called(model: str) -> str:
    return storage.name(model.rstrip("/")) if is_folder(model) else model


def _fingerprint(source: SourceInfo, model_identity: str, margins: Margins, prompts: GivenPrompts) -> str:
    """Of a source and of all that its scores depend on."""
    tokenizer = asdict(source.tokenizer) if source.tokenizer else None
    given = [asdict(prompts)] if prompts else []
    return digest(SCORING_VERSION, source.content, tokenizer, model_identity, asdict(margins), *given)
