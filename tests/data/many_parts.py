"""A store of many small parts, written without preparing anything."""

from pathlib import Path

import pyarrow as pa

from gte_ray.data.hashing import pair_hashes, text_hashes
from gte_ray.data.manifest import MANIFEST, Manifest, Part, SourceInfo
from gte_ray.data.step_plan import ROW_GROUP_ROWS
from gte_ray.runtime import storage
from gte_ray.runtime.parquet import write_parquet


def write_store(folder: Path, parts: int, rows: int) -> None:
    """A source `many` of `parts` parts of `rows` rows each, in the order of a store with seed 0."""
    texts = {
        name: pa.array([f"{name} {row} of a few words" for row in range(parts * rows)], pa.large_string())
        for name in ("query", "document")
    }
    hashes = {f"{name}_hash": text_hashes(text) for name, text in texts.items()}
    order = pair_hashes(hashes["query_hash"], hashes["document_hash"], 0).argsort()
    table, written = pa.table(texts | hashes).take(pa.array(order)), []
    for number in range(parts):
        path = f"many-0/part-{number:05}.parquet"
        size = write_parquet(table.slice(number * rows, rows), str(folder / path), ROW_GROUP_ROWS)
        written.append(Part(path, rows, size))
    info = SourceInfo("many", "code", len(table), 0, len(table), {}, "", "", "", tuple(written), ())
    storage.write_json(str(folder / MANIFEST), Manifest(0, 0.0, (info,)).to_dict())
