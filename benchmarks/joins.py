"""How time, memory and space of a join grow with its rows: citations and papers, prepared as a source."""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from benchmarks.readers import WORDS
from gte_ray.data.prepare_store import prepare
from gte_ray.readers.join import Join
from gte_ray.readers.reading import Reading
from gte_ray.readers.spec import SourceSpec
from gte_ray.runtime.cluster import start_ray

SIZES = (100_000, 1_000_000)
"""Rows of each side; ten million are `python -m benchmarks.joins 10000000`."""
FILES = 4
"""Files of each side."""


class Peak:
    """The largest memory of one process, and the largest space of a folder, while the `with` block lasts."""

    def __init__(self, folder: Path):
        self.folder, self.over = folder, threading.Event()
        self.memory = self.space = 0
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peak":
        self.thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.over.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.over.wait(0.5):
            for process in psutil.Process().children(recursive=True):
                try:
                    memory = process.memory_info()
                    if process.name().startswith("ray::"):
                        self.memory = max(self.memory, memory.rss - memory.shared)
                except psutil.Error:
                    continue
            try:
                found = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
            except FileNotFoundError:
                continue
            self.space = max(self.space, found)


def write(folder: Path, rows: int) -> int:
    """Papers in random order, and a citation of each; the bytes of both."""
    rng = random.Random(0)
    texts = [" ".join(rng.choices(WORDS, k=40)) for _ in range(1_000)]
    papers, cited = list(range(rows)), list(range(rows))
    rng.shuffle(papers)
    rng.shuffle(cited)
    for number in range(FILES):
        with (folder / f"papers-{number}.jsonl").open("w") as file:
            file.writelines(
                json.dumps({"corpusid": paper, "title": f"{texts[paper % 1000]} {paper}", "year": 2000})
                + "\n"
                for paper in papers[number::FILES]
            )
        with (folder / f"citations-{number}.jsonl").open("w") as file:
            file.writelines(
                json.dumps({"sentence": f"as they say {row}", "citedcorpusid": cited[row]}) + "\n"
                for row in range(number, rows, FILES)
            )
    return sum(path.stat().st_size for path in folder.glob("*.jsonl"))


def measure(sizes: tuple[int, ...] = SIZES) -> list[dict[str, str]]:
    start_ray(1, False)
    return [_join(rows) for rows in sizes]


def _join(rows: int) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = write(folder, rows)
        join = Join("cited", str(folder / "papers-*.jsonl"), on="citedcorpusid", key="corpusid")
        reading = Reading("sentence", "cited.title")
        spec = SourceSpec("papers", str(folder / "citations-*.jsonl"), "others", reading, joins=(join,))
        phases: dict[str, float] = {}
        start = time.perf_counter()
        with Peak(folder / "store") as peak:
            store = prepare(
                str(folder / "store"),
                [spec],
                report=lambda phase, count: phases.update({phase: time.perf_counter() - start}),
            )
        seconds = time.perf_counter() - start
        assert store.source("papers").read == rows and not store.source("papers").dropped
    joining = phases["joining papers"]
    return {
        "what": f"join {rows:,} rows with {rows:,} rows ({size / 1e6:,.0f} MB), two cores",
        "figure": f"{joining:,.0f} s of {seconds:,.0f} s, {peak.memory / 1e6:,.0f} MB in one process, "
        f"{peak.space / 1e6:,.0f} MB of files beside the input",
        "reach": "",
        "holds": "",
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="+")
    for row in measure(tuple(parser.parse_args().rows)):
        sys.stdout.write(json.dumps(row, indent=2) + "\n")
