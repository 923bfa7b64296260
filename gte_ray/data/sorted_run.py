"""Files of the external sort: sorted pairs, cut at fixed hashes so that a part's share is read by itself.

A run is a row of Arrow IPC streams, one for each of `cuts` ranges of equal width of the pair hash, and behind
them the position of each. A reader of one range makes two requests, whatever the size and number of runs; the
footer of a Parquet file grows with its row groups, and reading it for each part makes the work quadratic.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pyarrow as pa

from gte_ray.runtime import storage

BATCH_ROWS = 8_192
"""Most rows that are copied at once while a run is written."""
OPEN_RUNS = 256
"""Runs that a process keeps open, well below the usual limit of 1,024 descriptors."""
_WRITING = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
_READING = pa.ipc.IpcReadOptions(use_threads=False)


@dataclass(frozen=True)
class RunFile:
    path: str
    size: int
    """Bytes."""
    cuts: int
    """A power of 2."""


def write_run(
    path: str, columns: dict[str, pa.Array], hashes: np.ndarray, order: np.ndarray, cuts: int
) -> RunFile:
    """Writes rows in `order` (n,), in which their pair `hashes` (n,) ascend."""
    filesystem, location = storage.resolve(path)
    filesystem.create_dir(location.rsplit("/", 1)[0], recursive=True)
    edges = np.searchsorted(hashes[order], bounds(cuts))
    positions = np.zeros(cuts + 1, np.int64)
    with filesystem.open_output_stream(location) as stream:
        for cut, (first, last) in enumerate(zip(edges, [*edges[1:], len(order)], strict=True)):
            if first < last:
                stream.write(_encoded(columns, order[first:last]))
            positions[cut + 1] = stream.tell()
        stream.write(positions.tobytes())
        size = stream.tell()
    return RunFile(path, size, cuts)


def read_run(run: RunFile, part: int, parts: int) -> pa.Table | None:
    """Pairs of the `part`-th of `parts` ranges of the pair hash; None if there are none.

    `parts` is a power of 2. Where it is above the number of cuts, all rows of a cut are read to keep some.
    """
    first = part * run.cuts // parts
    last = max((part + 1) * run.cuts // parts, first + 1)
    positions = _positions(run, first, last)
    if positions[0] == positions[-1]:
        return None
    content = pa.py_buffer(_open(run.path).read_at(positions[-1] - positions[0], positions[0]))
    tables = [
        pa.ipc.open_stream(content.slice(start - positions[0], stop - start), options=_READING).read_all()
        for start, stop in pairwise(positions)
        if start < stop
    ]
    return pa.concat_tables(tables)


def bounds(ranges: int) -> np.ndarray:
    """(ranges,) uint64, the first hash of each of `ranges` ranges of equal width; a power of 2."""
    return np.arange(ranges, dtype=np.uint64) * np.uint64(2**64 // ranges % 2**64)


def _encoded(columns: dict[str, pa.Array], rows: np.ndarray) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    schema = pa.schema([(name, column.type) for name, column in columns.items()])
    with pa.ipc.new_stream(sink, schema, options=_WRITING) as writer:
        for batch in _slices(rows):
            writer.write_batch(pa.record_batch([column.take(batch) for column in columns.values()], schema))
    return sink.getvalue()


def _slices(rows: np.ndarray) -> Iterator[pa.Array]:
    for first in range(0, len(rows), BATCH_ROWS):
        yield pa.array(rows[first : first + BATCH_ROWS])


def _positions(run: RunFile, first: int, last: int) -> list[int]:
    """Where the cuts from `first` to before `last` begin, and where the last of them ends."""
    start = run.size - 8 * (run.cuts + 1)
    content = _open(run.path).read_at(8 * (last - first + 1), start + 8 * first)
    return np.frombuffer(content, np.int64).tolist()


@lru_cache(maxsize=OPEN_RUNS)
def _open(path: str) -> pa.NativeFile:
    filesystem, location = storage.resolve(path)
    return filesystem.open_input_file(location)
