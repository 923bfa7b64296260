"""Small sources, and what a prepared store holds."""

from pathlib import Path

import pyarrow as pa

from gte_ray.readers.spec import SourceSpec
from tests.data.conftest import make_pairs, write_lines


def small(name: str, folder: Path, count: int = 40) -> SourceSpec:
    pairs = make_pairs(count, seed=len(name))
    return SourceSpec(name, str(write_lines(folder / f"{name}.jsonl", pairs)), "others")


def files(store) -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in sorted(Path(store).rglob("*.parquet"))}


def pairs_of(table: pa.Table) -> set[tuple[str, str]]:
    return set(zip(table["query"].to_pylist(), table["document"].to_pylist(), strict=True))


def rows_of(store, name: str) -> pa.Table:
    return store.read_rows(name, 0, store.source(name).rows, ["query", "document"])


def phases(calls: list[str]):
    """A report that keeps the phases."""
    return lambda phase, pairs: calls.append(phase)
