"""What the tasks of an unfinished source have done, recorded beside it so that the same command goes on there."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, TypeVar

from gte_ray.config.typed import read
from gte_ray.runtime import storage

READS_AT_ONCE = 16
"""Records that are read concurrently, because remote storage is slow to respond."""

Record = TypeVar("Record")


def scratch_folder(uri: str, source: str) -> str:
    """Where the sorted runs and records of a source lie until it is finished."""
    return storage.join(uri, f".sorting-{source}")


def write_record(folder: str, name: str, record: Any) -> None:
    """Records a unit of work, as the last thing that its task does. `record` is a dataclass."""
    storage.write_json(storage.join(folder, f"{name}.json"), asdict(record))


def read_records(
    folder: str, kind: type[Record], files: Callable[[Record], Sequence[tuple[str, int]]]
) -> dict[str, Record]:
    """The records in `folder` by name, of those whose `files` (URI and bytes of each) are there and whole."""
    names = [name for name in storage.files(folder) if name.endswith(".json") and "/" not in name]
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        records = list(pool.map(lambda name: _read(storage.join(folder, name), kind), names))
    listed: dict[str, dict[str, int]] = {}

    def is_whole(uri: str, size: int) -> bool:
        parent, _, name = uri.rpartition("/")
        if parent not in listed:
            listed[parent] = storage.sizes(parent)
        return listed[parent].get(name) == size

    return {
        name.removesuffix(".json"): record
        for name, record in zip(names, records, strict=True)
        if record is not None and all(is_whole(uri, size) for uri, size in files(record))
    }


def _read(uri: str, kind: type[Record]) -> Record | None:
    try:
        return read(kind, storage.read_json(uri))
    except ValueError:
        return None  # cut off, or written by another version: the unit is done again
