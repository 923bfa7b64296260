"""A store of many small parts, written without preparing anything."""

from pathlib import Path

import pyarrow as pa

from gte_ray.data.hashing import pair_hashes, text_hashes
from gte_ray.data.parquet import write_parquet
from gte_ray.data.step_plan import ROW_GROUP_ROWS
from gte_ray.data.store import MANIFEST, Manifest, Part, SourceInfo
from gte_ray.runtime import storage


def source_info(parts: tuple[Part, ...], held_out: tuple[Part, ...] = (), name: str = "many") -> SourceInfo:
    rows, aside = (sum(part.rows for part in some) for some in (parts, held_out))
    return SourceInfo(
        name=name, task="code", rows=rows, held_out=aside, read=rows + aside, dropped={}, reader="",
        input_fingerprint="", content="", parts=parts, held_out_parts=held_out,
    )  # fmt: skip


def write_manifest(uri: str, *sources: SourceInfo, seed: int = 0) -> None:
    storage.write_json(storage.join(uri, MANIFEST), Manifest(seed, 0.0, sources).to_dict())


def pairs(rows: int, words: int = 8) -> pa.Table:
    """Pairs of texts with their hashes, in the order of a store with seed 0."""
    texts = {
        name: pa.array([f"{name} {row} " + "word " * words for row in range(rows)], pa.large_string())
        for name in ("query", "document")
    }
    hashes = {f"{name}_hash": text_hashes(text) for name, text in texts.items()}
    order = pair_hashes(hashes["query_hash"], hashes["document_hash"], 0).argsort()
    return pa.table(texts | hashes).take(pa.array(order))


def write_store(folder: Path, parts: int, rows: int) -> pa.Table:
    """A source `many` of `parts` parts of `rows` rows each. Returns all its rows."""
    table, written = pairs(parts * rows), []
    for number in range(parts):
        path = f"many-0/part-{number:05}.parquet"
        size = write_parquet(table.slice(number * rows, rows), str(folder / path), ROW_GROUP_ROWS)
        written.append(Part(path, rows, size))
    write_manifest(str(folder), source_info(tuple(written)))
    return table
