"""How the cost of the data path grows with parts, files and pairs, up to the paper's 788 million.

python -m benchmarks.scale              # parts of the second pass, opening, readers, the step plan
python -m benchmarks.scale growth       # prepare 2, 5, 10 and 20 million pairs: minutes
"""

import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from unittest.mock import patch

import numpy as np
import psutil
import pyarrow as pa
from pyarrow import fs

from benchmarks.counting import CountingHandler
from benchmarks.prepare import SYNTHETIC_ROWS, prepare_apart, write_input
from gte_ray.data.manifest import Manifest, Part, SourceInfo
from gte_ray.data.merge import Kept, Merge, MergeJob, merge_range
from gte_ray.data.mixture import PlanSource
from gte_ray.data.sort import PartSize, SortedUnit, SortJob, sort_unit
from gte_ray.data.split import Split
from gte_ray.data.step_plan import ROW_GROUP_ROWS, StepPlan
from gte_ray.data.store import open_store
from gte_ray.data.units import Piece
from gte_ray.readers.reading import Reading
from gte_ray.runtime import storage
from gte_ray.runtime.parquet import write_parquet

PARTS = (4, 128, 1_024, 8_192)
ROWS_OF_PART = 16
FILES = 6_000
"""Parts of the largest store on each side of its split."""
PART_ROWS = 131_072
RUNS = 64
"""Sorted runs of the source: what 32 GB of text have."""
MILLIONS = (2, 5, 10, 20)
PAPER_SOURCES = [200, 120, 100, 80, 60, 50, 40, *([5] * 26)]
"""Pairs of 33 sources in millions, 780 in all, about as Table 1 has them."""


def measure() -> list[dict[str, str]]:
    return [*(_second_pass(parts) for parts in PARTS), *_store_of_many_parts(), _plan()]


def _second_pass(parts: int) -> dict[str, str]:
    """All parts of a source through the real tasks of both passes, and what they ask the storage for."""
    counting = CountingHandler()
    filesystem = fs.PyFileSystem(counting)
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(storage, "resolve", lambda uri: (filesystem, uri)),
    ):
        units = _sorted_units(folder, parts)
        runs = tuple(run.file for unit in units for run in unit.runs)
        stored = sum(run.size for run in runs)
        merge = Merge(
            uri=folder, folder="pairs-0", runs=runs, records=f"{folder}/records", parts=parts, split=Split(),
            kept=Kept(parts * ROWS_OF_PART), held_out_documents=np.empty(0, np.uint64), tokenization=None,
        )  # fmt: skip
        counting.counts.clear()
        read = kept = 0
        for part in range(parts):
            for merged in merge_range(MergeJob("pairs", part), {"pairs": pickle.dumps(merge)}):
                read += merged.range.rows_read
                kept += merged.range.part.rows + merged.range.held_out.rows
    counts = counting.counts
    return {
        "what": f"second pass, {parts:,} parts of {len(runs)} runs",
        "figure": f"{read / kept:.2f} rows read for one kept; a part: {counts['read'] / parts:.0f} reads, "
        f"{counts['open'] / parts:.1f} opens; {counts['bytes'] / stored:.2f} times the runs' bytes",
        "reach": "<= 1.5 rows",
        "holds": "yes" if read <= 1.5 * kept else "no",
    }


def _sorted_units(folder: str, parts: int) -> list[SortedUnit]:
    rows = parts * ROWS_OF_PART
    size = PartSize(ROWS_OF_PART, 2**29)
    units = []
    for number, share in enumerate(np.array_split(np.arange(rows), RUNS)):
        path = Path(folder, f"{number}.csv")
        lines = [f"query {row},document {row} of the source\n" for row in share.tolist()]
        path.write_text("query,document\n" + "".join(lines))
        job = SortJob(
            "pairs", (Piece(str(path)),), f"{number}", Reading(), f"{folder}/scratch", Split(), size,
            path.stat().st_size * RUNS, 0,
        )  # fmt: skip
        units += [result.unit for result in sort_unit(job) if result.unit is not None]
    return units


def _store_of_many_parts() -> list[dict[str, str]]:
    """Opens and reads a store of 12,000 files, each step in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        _write_store(Path(folder))
        opening, reading = (_in_own_process(what, folder) for what in ("open", "read"))
    return [
        {
            "what": f"open a store of {2 * FILES:,} files",
            "figure": f"{opening[0]:.2f} s, {opening[1]:.0f} MB more",
            "reach": "<= 2 s, 200 MB",
            "holds": "yes" if opening[0] <= 2 and opening[1] <= 200 else "no",
        },
        {
            "what": f"read from each of {FILES:,} parts of {PART_ROWS:,} rows",
            "figure": f"{reading[0] / FILES * 1e3:.1f} ms a part, {reading[2]:.0f} MB resident in all",
            "reach": "<= 300 MB",
            "holds": "yes" if reading[2] <= 300 else "no",
        },
    ]


def _write_store(folder: Path) -> None:
    """One part under many names, whose rows are small and whose footer is that of a real one."""
    texts = pa.array([f"text {row}" for row in range(PART_ROWS)], pa.large_string())
    hashes = pa.array(np.arange(PART_ROWS, dtype=np.uint64))
    table = pa.table({"query": texts, "document": texts, "query_hash": hashes, "document_hash": hashes})
    size = write_parquet(table, str(folder / "one.parquet"), ROW_GROUP_ROWS)
    (folder / "many-0").mkdir()
    sides = []
    for side in ("part", "held_out"):
        parts = tuple(Part(f"many-0/{side}-{number:05}.parquet", PART_ROWS, size) for number in range(FILES))
        for part in parts:
            os.link(folder / "one.parquet", folder / part.path)
        sides.append(parts)
    rows = FILES * PART_ROWS
    info = SourceInfo("many", "code", rows, rows, 2 * rows, {}, "", "", "", *sides)
    storage.write_json(str(folder / "manifest.json"), Manifest(0, 0.5, (info,)).to_dict())


def _in_own_process(what: str, folder: str) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.scale", what, folder]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _open_or_read(what: str, uri: str) -> None:
    """Prints seconds, the memory that was added and all that is resident, in MB."""
    process = psutil.Process()
    before = process.memory_info().rss
    begun = time.perf_counter()
    store = open_store(uri)
    if what == "read":
        begun = time.perf_counter()
        for start in range(0, FILES * PART_ROWS, PART_ROWS):
            store.read_rows("many", start + 500, start + 1_500, ["query", "document_hash"])
    seconds = time.perf_counter() - begun
    resident = process.memory_info().rss
    print(json.dumps([seconds, (resident - before) / 1e6, resident / 1e6]))


def _plan() -> dict[str, str]:
    sources = [PlanSource(f"source-{number}", size * 10**6) for number, size in enumerate(PAPER_SOURCES)]
    tracemalloc.start()
    begun = time.perf_counter()
    plan = StepPlan(sources, alpha=0.5, global_batch=16_384, seed=0, steps=50_000)
    built = time.perf_counter() - begun
    begun = time.perf_counter()
    first = plan[0]
    waited = time.perf_counter() - begun
    for step in range(1, 500):
        plan[step]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "what": f"step plan of {sum(PAPER_SOURCES)} million pairs, 50,000 steps",
        "figure": f"built in {built:.2f} s, the first batch of {first.rows:,} in {waited * 1e3:.0f} ms, {peak / 1e6:.0f} MB",
        "reach": "<= 10 s",
        "holds": "yes" if built + waited <= 10 else "no",
    }


def growth(millions: tuple[int, ...] = MILLIONS) -> list[dict[str, str]]:
    """Pairs per second, memory and space of prepare, each in a process of its own."""
    rows = []
    rates: list[float] = []
    for count in millions:
        with tempfile.TemporaryDirectory() as folder:
            pairs = write_input("", Path(folder, "input"), count * 10**6 // SYNTHETIC_ROWS) * (
                count * 10**6 // SYNTHETIC_ROWS
            )
            run = prepare_apart(f"{folder}/store", f"{folder}/input")
            size = _bytes(Path(folder, "input"))
            rates.append(pairs / run.seconds)
            rows.append(
                {
                    "what": f"prepare {pairs:,} pairs, {size / 1e9:.1f} GB",
                    "figure": f"{rates[-1]:,.0f} pairs/s, {run.peak_bytes / 1e9:.2f} GB of memory, at most "
                    f"{run.peak_disk_bytes / 1e9:.1f} GB of disk for a store of {_bytes(Path(folder, 'store')) / 1e9:.1f} GB",
                    "reach": ">= 40,000 pairs/s, >= 85 % of the first rate",
                    "holds": "yes" if rates[-1] >= max(40_000, 0.85 * rates[0]) else "no",
                }
            )
            print(rows[-1], flush=True)
    return rows


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    if sys.argv[1:2] in (["open"], ["read"]):
        _open_or_read(*sys.argv[1:])
        sys.exit()
    for row in growth() if sys.argv[1:] == ["growth"] else measure():
        print(row)
