"""The second pass of the external sort: one range of pair hashes from all runs, as a part of the store.

A part reads its share of each run and nothing else, so that all parts together read the runs once.
"""

import hashlib
import pickle
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from gte_ray.data.hashing import pair_hashes, text_hashes
from gte_ray.data.ids import Tokenization, with_ids
from gte_ray.data.journal import write_record
from gte_ray.data.manifest import Part
from gte_ray.data.negatives import flat, list_array, unite_negatives
from gte_ray.data.scores import add_scores, alike, score_array
from gte_ray.data.sort import HELD_OUT
from gte_ray.data.sorted_run import RunFile, bounds, read_run
from gte_ray.data.split import Split
from gte_ray.data.step_plan import ROW_GROUP_ROWS
from gte_ray.readers.values import NEGATIVE_SCORES, PAIR_SCORE
from gte_ray.runtime import storage
from gte_ray.runtime.parquet import write_parquet

NEGATIVES = pa.list_(pa.large_string())
READS_AT_ONCE = 16
"""Runs that are read concurrently, because remote storage is slow to respond."""


class Kept(NamedTuple):
    """Which pairs of a source are kept: a random sample, the same whatever their order."""

    rows: int
    """Their number, about, duplicates included."""
    below: int = 2**64
    """Their hashes are below this one."""

    @classmethod
    def of(cls, rows: int, limit: int) -> "Kept":
        """About `limit` of `rows` pairs; all if `limit` is 0."""
        return cls(limit, limit * 2**64 // rows) if 0 < limit < rows else cls(rows)


@dataclass(frozen=True)
class Merge:
    """What all tasks of the second pass over a source are told."""

    uri: str
    """Of the store."""
    folder: str
    """Of the source, relative to the store."""
    runs: tuple[RunFile, ...]
    records: str
    """Folder of the records of what is done."""
    parts: int
    """Ranges of equal width that the pair hashes are cut into; a power of 2."""
    split: Split
    kept: Kept
    held_out_documents: np.ndarray
    """(d,) uint64, ascending: hashes of the documents of all held-out pairs of the source."""
    tokenization: Tokenization | None
    """How token ids are made; None for none."""
    scored: bool = False
    """Whether a teacher's scores are there."""

    @property
    def jobs(self) -> int:
        """Number of the parts that have pairs which are kept."""
        return -(-self.kept.below * self.parts // 2**64)


class MergeJob(NamedTuple):
    source: str
    part: int
    """From 0 on, in ascending order of the pair hashes."""


@dataclass(frozen=True)
class MergedRange:
    """What one task of the second pass wrote."""

    index: int
    """From 0 on, in ascending order of the pair hashes."""
    part: Part
    """Of the pairs to train on."""
    held_out: Part
    negatives: int
    """Of the pairs to train on."""
    content: str
    """A digest of the pairs on both sides."""
    shared: int
    """Pairs whose document a held-out pair has too, and whose query is not held out."""
    rows: int
    """Pairs of the range that are kept, duplicates included."""
    rows_read: int
    """Rows of the runs that were decoded for them."""


class Merged(NamedTuple):
    source: str
    range: MergedRange


def merge_range(job: MergeJob, merges: Mapping[str, bytes]) -> Iterator[Merged]:
    """Merges a range of pair hashes from all runs of a source, without duplicates, and writes it.

    `merges` has each source's `Merge`, pickled: a task unpickles its own and not those of a thousand others.
    """
    merge: Merge = pickle.loads(merges[job.source])
    table, rows_read = read_range(merge.runs, job.part, merge.parts, merge.kept.below)
    rows = len(table)
    table = _without_duplicates(add_scores(table) if merge.scored else table)
    content = _content(table)
    trained, held_out = (
        side.drop_columns(["pair_hash"]) for side in merge.split.sides(table, merge.kept.rows)
    )
    shared = np.isin(trained.column("document_hash").to_numpy(), merge.held_out_documents)
    if merge.split.held_out_documents:
        trained = trained.filter(pa.array(~shared))
    done = MergedRange(
        job.part,
        part=_write_part(trained, merge, f"part-{job.part:05}.parquet"),
        held_out=_write_part(held_out, merge, f"held_out-{job.part:05}.parquet"),
        negatives=len(trained.column("negative_hashes").combine_chunks().flatten()),
        content=content,
        shared=int(shared.sum()),
        rows=rows,
        rows_read=rows_read,
    )
    write_record(merge.records, f"{job.part:05}", done)
    yield Merged(job.source, done)


def held_out_documents(runs: Sequence[RunFile], split: Split, kept: Kept) -> np.ndarray:
    """(d,) uint64, ascending: hashes of the documents of all held-out pairs of a source."""
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        contents = pool.map(lambda run: storage.read_bytes(run.path + HELD_OUT), runs)
        hashes = [np.frombuffer(content, np.uint64).reshape(2, -1) for content in contents]
    queries, documents = np.concatenate(hashes, axis=1)
    aside = split.is_held_out(queries, kept.rows)
    aside &= pair_hashes(queries, documents, split.seed) <= np.uint64(kept.below - 1)
    return np.unique(documents[aside])


def first_pairs(runs: Sequence[RunFile], rows: int, kept: Kept, split: Split) -> pa.Table:
    """The first `rows` pairs to train on, as the store will have them."""
    documents = held_out_documents(runs, split, kept) if split.held_out_documents else np.empty(0, np.uint64)
    share = 2 * rows / kept.rows * kept.below / 2**64
    parts = 1 << max(0, int(np.floor(-np.log2(share))))
    while True:
        table = _without_duplicates(read_range(runs, 0, parts, kept.below)[0])
        trained = split.sides(table, kept.rows)[0]
        trained = trained.filter(pa.array(~np.isin(trained.column("document_hash").to_numpy(), documents)))
        if len(trained) >= rows or parts == 1:
            return trained.slice(0, rows)
        parts //= 2


def read_range(runs: Sequence[RunFile], part: int, parts: int, below: int = 2**64) -> tuple[pa.Table, int]:
    """The rows of the `part`-th of `parts` ranges in all runs, and how many were read for them.

    Only those whose pair hash is below `below`, which is beyond the range's first one.
    """
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        read = list(pool.map(partial(read_run, part=part, parts=parts), runs))
    tables = alike([table for table in read if table is not None])
    table = pa.concat_tables(tables) if tables else _no_pairs()
    count = len(table)
    if below < 2**64 or any(run.cuts < parts for run in runs):
        edges = [int(edge) for edge in bounds(parts)] + [2**64]
        hashes = table.column("pair_hash").to_numpy()
        last = min(edges[part + 1], below) - 1
        inside = (hashes >= np.uint64(edges[part])) & (hashes <= np.uint64(last))
        table = table.filter(pa.array(inside))
    return table, count


def _write_part(table: pa.Table, merge: Merge, name: str) -> Part:
    if merge.tokenization is not None:
        table = with_ids(table, merge.tokenization)
    path = f"{merge.folder}/{name}"
    return Part(path, len(table), write_parquet(table, storage.join(merge.uri, path), ROW_GROUP_ROWS))


def _without_duplicates(table: pa.Table) -> pa.Table:
    """Each pair once, in ascending order of (pair, query, document hash), with the negatives of all its rows.

    Of several scores of one pair, or of one of its negatives, the highest stays.
    """
    keys = [table.column(name).to_numpy() for name in ("document_hash", "query_hash", "pair_hash")]
    scored = PAIR_SCORE in table.column_names
    order = np.lexsort([-score_array(table.column(PAIR_SCORE)), *keys] if scored else keys)  # NaN comes last
    documents, queries = keys[0][order], keys[1][order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (queries[1:] != queries[:-1]) | (documents[1:] != documents[:-1])
    pair_of_row = np.empty(len(order), np.int64)
    pair_of_row[order] = np.cumsum(first) - 1
    negatives = pa.concat_arrays(table.column("negatives").chunks or [pa.array([], NEGATIVES)])
    texts, offsets = flat(negatives)
    hashes, owners = text_hashes(texts), np.repeat(pair_of_row, np.diff(offsets))
    scores = _negative_scores(table) if scored else None
    places, offsets = unite_negatives(hashes, owners, queries[first], documents[first], scores)
    table = table.drop_columns(["negatives", *[NEGATIVE_SCORES] * scored]).take(order[first])
    table = table.append_column("negatives", list_array(offsets, texts.take(pa.array(places))))
    table = table.append_column("negative_hashes", list_array(offsets, pa.array(hashes[places])))
    if scores is not None:
        table = table.append_column(NEGATIVE_SCORES, list_array(offsets, pa.array(scores[places])))
    return table


def _negative_scores(table: pa.Table) -> np.ndarray:
    """(m,) float32 of all negatives."""
    return score_array(flat(table.column(NEGATIVE_SCORES).combine_chunks())[0])


def _content(table: pa.Table) -> str:
    """A digest of the pairs, and of their negatives and scores where there are any."""
    content = hashlib.sha256(table.column("pair_hash").to_numpy().tobytes())
    negatives = pa.concat_arrays(table.column("negative_hashes").chunks)
    hashes, offsets = flat(negatives)
    if len(hashes):
        content.update(offsets.tobytes() + hashes.to_numpy().tobytes())
    if PAIR_SCORE in table.column_names:
        content.update(score_array(table.column(PAIR_SCORE)).tobytes() + _negative_scores(table).tobytes())
    return content.hexdigest()


def _no_pairs() -> pa.Table:
    text, number = pa.large_string(), pa.uint64()
    fields = {"query": text, "document": text, "negatives": NEGATIVES}
    fields |= {"query_hash": number, "document_hash": number, "pair_hash": number}
    return pa.table({name: pa.array([], kind) for name, kind in fields.items()})
