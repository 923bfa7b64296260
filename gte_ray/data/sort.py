"""The two passes of the external sort that prepares a source, each over a unit of bounded size."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gte_ray.data.hashing import digest, pair_hashes, seeded, text_hashes
from gte_ray.data.negatives import flat, list_array, unite_negatives
from gte_ray.data.parquet import open_parquet, write_parquet
from gte_ray.data.sources import Chunk, read_file
from gte_ray.data.step_plan import ROW_GROUP_ROWS
from gte_ray.data.store import Part
from gte_ray.runtime import storage

NEGATIVES = pa.list_(pa.large_string())


@dataclass(frozen=True)
class SortedRun:
    """What one task of the first pass wrote and counted."""

    path: str
    rows: int
    bytes: int
    """In memory."""
    checksum: int
    """Sum of the pairs' hashes modulo 2^64, whatever their order."""
    dropped: dict[str, int]
    layout: str
    unused: dict[str, int]
    lost_negatives: dict[str, int]


@dataclass(frozen=True)
class Merge:
    """What all tasks of the second pass are told."""

    uri: str
    """Of the store."""
    folder: str
    """Of the source, relative to the store."""
    runs: tuple[str, ...]
    """Where the sorted runs are."""
    ranges: int
    """Ranges of equal width that the pair hashes are cut into."""
    seed: int
    held_out_share: float


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


def sort_file(uri: str, columns: tuple[str, str] | None, scratch: str, seed: int) -> Iterator[SortedRun]:
    """First pass: the pairs of a file as runs sorted by (pair hash, query hash, document hash)."""
    for number, chunk in enumerate(read_file(uri, columns)):
        yield _write_run(chunk, storage.join(scratch, f"{digest(uri)}-{number}.parquet"), seed)


def _write_run(chunk: Chunk, path: str, seed: int) -> SortedRun:
    table = chunk.table
    queries, documents = (text_hashes(table.column(name).combine_chunks()) for name in ("query", "document"))
    pairs = pair_hashes(queries, documents, seed)
    table = table.append_column("query_hash", pa.array(queries)).append_column(
        "document_hash", pa.array(documents)
    )
    table = table.append_column("pair_hash", pa.array(pairs))
    if len(table):
        table = table.take(np.lexsort((documents, queries, pairs)))
        write_parquet(table, path, row_group_rows=4 * ROW_GROUP_ROWS)
    return SortedRun(
        path, len(table), table.nbytes, int(pairs.sum(dtype=np.uint64)), chunk.dropped, chunk.layout,
        chunk.unused, chunk.lost_negatives,
    )  # fmt: skip


def merge_range(index: int, merge: Merge) -> Iterator[MergedRange]:
    """Second pass: one range of pair hashes from all runs, without duplicates, as a part of the store."""
    low, high = (-(-(k << 64) // merge.ranges) for k in (index, index + 1))
    tables = [_read_range(path, low, high) for path in merge.runs]
    table = pa.concat_tables(tables) if tables else _no_pairs()
    table = _without_duplicates(table)
    queries = table.column("query_hash").to_numpy()
    # By the query, so that a query is never on both sides, and by hash, so that it stays where it is.
    aside = seeded(queries, merge.seed) < np.uint64(min(int(merge.held_out_share * 2**64), 2**64 - 1))
    content = _content(table)
    table = table.drop_columns(["pair_hash"])
    trained, held_out = (table.filter(pa.array(rows)) for rows in (~aside, aside))
    yield MergedRange(
        index,
        part=_write_part(trained, merge, f"part-{index:05}.parquet"),
        held_out=_write_part(held_out, merge, f"held_out-{index:05}.parquet"),
        negatives=len(trained.column("negative_hashes").combine_chunks().flatten()),
        content=content,
    )


def _write_part(table: pa.Table, merge: Merge, name: str) -> Part:
    path = f"{merge.folder}/{name}"
    return Part(path, len(table), write_parquet(table, storage.join(merge.uri, path), ROW_GROUP_ROWS))


def _read_range(path: str, low: int, high: int) -> pa.Table:
    """Pairs low <= pair hash < high of a run; row groups outside are not read."""
    file = open_parquet(path)
    column = file.schema_arrow.names.index("pair_hash")
    groups = []
    for group in range(file.num_row_groups):
        bounds = file.metadata.row_group(group).column(column).statistics
        if bounds.max >= low and bounds.min < high:
            groups.append(group)
    table = file.read_row_groups(groups, use_threads=False)
    hashes = table.column("pair_hash").to_numpy()
    inside = (hashes >= np.uint64(low)) & (hashes <= np.uint64(high - 1))
    return table.filter(pa.array(inside))


def _without_duplicates(table: pa.Table) -> pa.Table:
    """Each pair once, in ascending order of (pair, query, document hash), with the negatives of all its rows."""
    keys = [table.column(name).to_numpy() for name in ("document_hash", "query_hash", "pair_hash")]
    order = np.lexsort(keys)
    documents, queries = keys[0][order], keys[1][order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (queries[1:] != queries[:-1]) | (documents[1:] != documents[:-1])
    pair_of_row = np.empty(len(order), np.int64)
    pair_of_row[order] = np.cumsum(first) - 1
    negatives = pa.concat_arrays(table.column("negatives").chunks or [pa.array([], NEGATIVES)])
    texts, offsets = flat(negatives)
    hashes, owners = text_hashes(texts), np.repeat(pair_of_row, np.diff(offsets))
    places, offsets = unite_negatives(hashes, owners, queries[first], documents[first])
    table = table.drop_columns(["negatives"]).take(order[first])
    table = table.append_column("negatives", list_array(offsets, texts.take(pa.array(places))))
    return table.append_column("negative_hashes", list_array(offsets, pa.array(hashes[places])))


def _content(table: pa.Table) -> str:
    """A digest of the pairs, and of their negatives where there are any."""
    content = hashlib.sha256(table.column("pair_hash").to_numpy().tobytes())
    negatives = pa.concat_arrays(table.column("negative_hashes").chunks)
    hashes, offsets = flat(negatives)
    if len(hashes):
        content.update(offsets.tobytes() + hashes.to_numpy().tobytes())
    return content.hexdigest()


def _no_pairs() -> pa.Table:
    text, number = pa.large_string(), pa.uint64()
    fields = {"query": text, "document": text, "negatives": NEGATIVES}
    fields |= {"query_hash": number, "document_hash": number, "pair_hash": number}
    return pa.table({name: pa.array([], kind) for name, kind in fields.items()})
