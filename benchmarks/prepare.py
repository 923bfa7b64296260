"""How fast a store is prepared and read, and whether memory stays constant with 20 times the data."""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from gte_ray.data.ids import Ids, train_vocabulary
from gte_ray.data.prepare_store import prepare
from gte_ray.data.store import Store, open_store
from gte_ray.data.tokenize import TextTokenizer
from gte_ray.readers.spec import SourceSpec
from gte_ray.runtime import storage
from gte_ray.runtime.cluster import start_ray

TIMES = 20
FILE_ROWS = 25_000
SYNTHETIC_ROWS = 100_000
LENGTH = 128
TOKENISED_ROWS = 10_000
READ_ROWS = 1_000
"""Rows of one read of token ids: about a worker's shard of a step."""


@dataclass(frozen=True)
class Run:
    """One call of prepare in its own process, with its own Ray."""

    seconds: float
    """Excluding the start of Ray."""
    peak_bytes: int
    """Sum over all processes, with shared memory counted once."""
    peak_disk_bytes: int
    """Of the store and all that lies beside it for a while."""


def measure(pairs: str = "") -> list[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        rows = write_input(pairs, Path(folder, "once"), 1)
        write_input(pairs, Path(folder, "many"), TIMES)
        once, many = (
            prepare_apart(f"{folder}/{name}-store", f"{folder}/{name}") for name in ("once", "many")
        )
        store = open_store(f"{folder}/once-store")
        tokenizer = train_vocabulary(store, 16_384)
        figures = [
            _rate(f"prepare {rows:,} pairs", rows / once.seconds, "", 10_000),
            _rate(f"prepare {TIMES * rows:,} pairs", TIMES * rows / many.seconds, "", 10_000),
            _memory(once, many),
            _rate(f"tokenise to {LENGTH} tokens", _tokenise(store, tokenizer), " per core", 2_000),
            _rate("read token ids", _read_ids(store, tokenizer, Path(folder)), " per core", 100_000),
        ]
    return figures


def write_input(pairs: str, folder: Path, times: int) -> int:
    """Writes `times` copies of the pairs, each with a suffix, to Parquet. Returns the rows of one copy."""
    folder.mkdir()
    table = _read_pairs(pairs) if pairs else _synthetic()
    for copy in range(times):
        documents = pa.array([f"{text} #{copy}" for text in table["document"].to_pylist()])
        changed = pa.table({"query": table["query"], "document": documents})
        for start in range(0, len(table), FILE_ROWS):
            pq.write_table(changed.slice(start, FILE_ROWS), folder / f"{copy:03}-{start:09}.parquet")
    return len(table)


def _read_pairs(folder: str) -> pa.Table:
    files = sorted(Path(folder).glob("*.parquet"))
    return pa.concat_tables(pq.read_table(path, columns=["query", "document"]) for path in files)


def _synthetic() -> pa.Table:
    """Texts of words whose frequencies fall like those of a natural language."""
    random = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = np.array(["".join(random.choice(letters, n)) for n in random.integers(2, 11, 30_000)])

    def texts(least: int, most: int) -> list[str]:
        lengths = random.integers(least, most, SYNTHETIC_ROWS)
        chosen = words[np.minimum(random.zipf(1.2, lengths.sum()), len(words)) - 1]
        return [" ".join(part) for part in np.split(chosen, np.cumsum(lengths)[:-1])]

    return pa.table({"query": texts(3, 15), "document": texts(10, 120)})


def prepare_apart(store: str, source: str) -> Run:
    command = [sys.executable, "-m", "benchmarks.prepare", "--prepare", store, "--from", source]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak, disk, done = 0, 0, threading.Event()

    def watch() -> None:
        nonlocal peak, disk
        while not done.wait(0.3):
            peak = max(peak, _tree_bytes(process.pid))
            disk = max(disk, sum(storage.sizes(store).values()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    done.set()
    watcher.join()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return Run(float(output.split()[-1]), peak, disk)


def _tree_bytes(pid: int) -> int:
    """Proportional set size of a process and its descendants."""
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # ended meanwhile
    return total


def _prepare(store: str, source: str) -> None:
    start_ray(1, verbose=False)
    begun = time.perf_counter()
    prepare(store, [SourceSpec("pairs", f"{source}/*.parquet", "others")])
    print(time.perf_counter() - begun)


def _tokenise(store: Store, tokenizer: TextTokenizer) -> float:
    """Pairs per second of CPU time."""
    rows = min(TOKENISED_ROWS, store.source("pairs").rows)
    table = store.read_rows("pairs", 0, rows, ["query", "document"])
    begun = time.process_time()
    for column in table.columns:
        tokenizer.encode(pa.concat_arrays(column.chunks), LENGTH)
    return rows / (time.process_time() - begun)


def _read_ids(store: Store, tokenizer: TextTokenizer, folder: Path) -> float:
    """Pairs per second of CPU time, in reads of neighbouring rows at random offsets."""
    tokenizer.save(str(folder / "tokenizer"))
    start_ray(1, verbose=False)
    source = [SourceSpec("pairs", f"{folder}/once/*.parquet", "others")]
    store = prepare(store.uri, source, ids=Ids(str(folder / "tokenizer"), max_length=LENGTH))
    columns = ["query_ids", "document_ids", "query_hash", "document_hash"]
    starts = np.random.default_rng(0).integers(0, store.source("pairs").rows - READ_ROWS, 300)
    begun = time.process_time()
    for start in starts.tolist():
        store.read_rows("pairs", start, start + READ_ROWS, columns)
    return len(starts) * READ_ROWS / (time.process_time() - begun)


def _rate(what: str, rate: float, unit: str, reach: int) -> dict[str, str]:
    return {
        "what": what,
        "figure": f"{rate:,.0f} pairs/s{unit}",
        "reach": f">= {reach:,}",
        "holds": "yes" if rate >= reach else "no",
    }


def _memory(once: Run, many: Run) -> dict[str, str]:
    share = many.peak_bytes / once.peak_bytes
    return {
        "what": f"prepare: peak memory of all processes, 1 and {TIMES} times the data",
        "figure": f"{once.peak_bytes / 1e9:.2f} and {many.peak_bytes / 1e9:.2f} GB, {share:.2f} times",
        "reach": "< 1.5 times",
        "holds": "yes" if share < 1.5 else "no",
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", default="", help="folder of Parquet files with columns query, document")
    parser.add_argument("--prepare", help=argparse.SUPPRESS)
    parser.add_argument("--from", dest="source", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.prepare:
        _prepare(given.prepare, given.source)
    else:
        for row in measure(given.pairs):
            print(row)
