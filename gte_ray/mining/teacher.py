"""Score the pairs of a store and their hard negatives with a teacher. Runs in Ray actors; what is on storage is not done again."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from gte_ray.data.ids import Report
from gte_ray.data.manifest import SourceInfo
from gte_ray.data.negatives import flat
from gte_ray.data.rewrite import PartRows, column_array, part_rows
from gte_ray.data.store import open_store
from gte_ray.mining.search import MICRO_BATCH_TOKENS
from gte_ray.mining.task import read_arrays, vectors_path, write_arrays
from gte_ray.model.cross_encoder import load_scorer
from gte_ray.pretrained.prompts import AS_THE_MODEL, GivenPrompts
from gte_ray.runtime import storage
from gte_ray.runtime.pool import Pool, run_actors

UNIT_ROWS = 1_024
"""Most pairs whose scores are in one file: a row group. Fixed, so that the same pairs give the same bits on any workers."""


class Rows(NamedTuple):
    """Pairs of one part that are scored together: start <= row < stop of the source."""

    source: str
    start: int
    stop: int


@dataclass(frozen=True)
class Scoring:
    """What all actors need."""

    store: str
    model: str
    pool: Pool
    folders: Mapping[str, str]
    """Where the scores of a source are kept until it is done."""
    prompts: GivenPrompts = AS_THE_MODEL
    """Prompts in place of the model's own."""

    def path(self, rows: Rows) -> str:
        return vectors_path(self.folders[rows.source], "scores", rows.start)


class GiveScores:
    """An actor with the teacher."""

    def __init__(self, scoring: Scoring):
        torch.set_num_threads(scoring.pool.threads)
        self.scoring = scoring
        self.scorer, _ = load_scorer(scoring.model, scoring.pool.device, scoring.pool.gpu, scoring.prompts)
        self.store = open_store(scoring.store, check=False)

    def __call__(self, rows: Rows) -> Iterator[Rows]:
        table = self.store.read_rows(*rows, ["query", "document", "negatives"])
        negatives, offsets = flat(column_array(table, "negatives"))
        queries = column_array(table, "query")
        owners = np.repeat(np.arange(len(table)), np.diff(offsets))
        scores = self.scorer.scores(
            [*queries.to_pylist(), *queries.take(owners).to_pylist()],
            [*column_array(table, "document").to_pylist(), *negatives.to_pylist()],
            MICRO_BATCH_TOKENS,
        )
        write_arrays(self.scoring.path(rows), pairs=scores[: len(table)], negatives=scores[len(table) :])
        yield rows


def give_scores(scoring: Scoring, sources: list[SourceInfo], report: Report) -> None:
    """Leave the scores of all pairs of `sources` in their folders."""
    units = [unit for source in sources for part in part_rows(source) for unit in _units(source.name, part)]
    missing = [unit for unit in units if not storage.exists(scoring.path(unit))]
    for done in run_actors(missing, GiveScores, scoring, scoring.pool):
        report(f"scoring {done.source}", done.stop - done.start)


def scores_of(scoring: Scoring, source: str, rows: PartRows) -> tuple[np.ndarray, np.ndarray]:
    """Return the float32 scores of the pairs of a part, and of their negatives in their order."""
    read = [read_arrays(scoring.path(unit)) for unit in _units(source, rows)]
    nothing = np.empty(0, np.float32)
    pairs, negatives = (
        np.concatenate([nothing, *(r[name] for r in read)]) for name in ("pairs", "negatives")
    )
    return pairs, negatives


def _units(source: str, part: PartRows) -> Iterator[Rows]:
    for start in range(part.start, part.stop, UNIT_ROWS):
        yield Rows(source, start, min(start + UNIT_ROWS, part.stop))
