"""How fast one core reads each format, and how the cost of `split_by` grows with the number of sources."""

import csv
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pyarrow as pa
import pyarrow.parquet as pq

from gte_ray.data.benchmarks import gather, location, without_benchmarks
from gte_ray.data.prepare_store import prepare
from gte_ray.readers.chunks import read_pairs
from gte_ray.readers.formats import Piece
from gte_ray.readers.reading import Reading
from gte_ray.readers.spec import SourceSpec
from gte_ray.runtime.cluster import start_ray

ROWS = 100_000
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "reading",
    "what",
    "others",
    "wrote",
    "of",
    "it",
    "before",
]
GROUPS = (1, 10, 100, 1_000)
SHAPED = Reading("{title}. {meta.lang}", "body", where="score >= 3 and meta.lang == 'en'")
"""A template, a path and a condition."""


def rows() -> list[dict[str, Any]]:
    """Posts of about 700 bytes."""
    rng = random.Random(0)
    return [
        {
            "title": f"{' '.join(rng.choices(WORDS, k=10))} {number}",
            "body": " ".join(rng.choices(WORDS, k=110)),
            "score": rng.randint(3, 9),
            "meta": {"lang": "en"},
        }
        for number in range(ROWS)
    ]


def write_jsonl(path: Path, posts: list[dict]) -> None:
    path.write_text("".join(json.dumps(post) + "\n" for post in posts))


def write_csv(path: Path, posts: list[dict]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["title", "body"])
        writer.writerows([post["title"], post["body"]] for post in posts)


def write_parquet(path: Path, posts: list[dict]) -> None:
    pq.write_table(pa.Table.from_pylist(posts), path)


def write_xml(path: Path, posts: list[dict]) -> None:
    lines = (
        f"  <row Title={quoteattr(post['title'])} Body={quoteattr('<p>' + post['body'] + '</p>')} />\n"
        for post in posts
    )
    path.write_text(f"<posts>\n{''.join(lines)}</posts>\n")


FILES: tuple[tuple[str, str, Callable, Reading, int], ...] = (
    ("JSON Lines, two columns", "a.jsonl", write_jsonl, Reading("title", "body"), 20_000),
    ("JSON Lines, template, path and condition", "b.jsonl", write_jsonl, SHAPED, 20_000),
    ("CSV", "a.csv", write_csv, Reading(), 20_000),
    ("Parquet, two columns", "a.parquet", write_parquet, Reading("title", "body"), 100_000),
    ("Parquet, template, path and condition", "b.parquet", write_parquet, SHAPED, 100_000),
    ("XML, attributes of rows", "a.xml", write_xml, Reading("Title", "Body", rows="row"), 0),
    ("XML, text of HTML", "b.xml", write_xml, Reading("Title", "Body|plain", rows="row"), 0),
)
"""What is read, the file, what writes it, the settings, and the rows a second that are to be reached."""
XML_REACH = 20.0
"""MB/s that are to be reached of XML."""


def measure() -> list[dict[str, str]]:
    posts = rows()
    with tempfile.TemporaryDirectory() as folder:
        results = [
            _read(Path(folder) / name, write, posts, what, reading, reach)
            for what, name, write, reading, reach in FILES
        ]
        return results + _split(Path(folder), posts) + [_decontaminate(Path(folder), posts)]


def _read(
    path: Path, write: Callable, posts: list[dict], what: str, reading: Reading, reach: int
) -> dict[str, str]:
    write(path, posts)
    start = time.process_time()
    count = sum(chunk.table.num_rows for chunk in read_pairs(Piece(str(path)), reading))
    seconds = time.process_time() - start
    assert count == ROWS
    speed, megabytes = count / seconds, path.stat().st_size / 1e6 / seconds
    holds = speed >= reach if reach else megabytes >= XML_REACH
    return {
        "what": f"read {what}, one core",
        "figure": f"{speed:,.0f} rows/s, {megabytes:.0f} MB/s",
        "reach": f"{reach:,} rows/s" if reach else f"{XML_REACH:.0f} MB/s",
        "holds": "yes" if holds else "no",
    }


def _split(folder: Path, posts: list[dict]) -> list[dict[str, str]]:
    """The same pairs, prepared as 1 to 1,000 sources."""
    start_ray(1, False)
    results = []
    for count in GROUPS:
        path = folder / f"{count}.jsonl"
        write_jsonl(path, [{**post, "task": number % count} for number, post in enumerate(posts)])
        split_by = "task" if count > 1 else ""
        spec = SourceSpec("posts", str(path), "others", Reading("title", "body", split_by=split_by))
        start = time.perf_counter()
        store = prepare(str(folder / f"store-{count}"), [spec])
        first = time.perf_counter() - start
        assert len(store.manifest.sources) == count
        start = time.perf_counter()
        prepare(store.uri, [spec])
        results.append(
            {
                "what": f"prepare {ROWS:,} pairs as {count:,} source(s)",
                "figure": f"{first:.1f} s; the same command again {time.perf_counter() - start:.1f} s",
                "reach": "",
                "holds": "",
            }
        )
    return results


def _decontaminate(folder: Path, posts: list[dict]) -> dict[str, str]:
    """What it costs to compare the pairs with a benchmark of as many texts, of which a tenth is in them."""
    words = [
        {"text": f"{' '.join(reversed(post['body'].split()))} {number}"} for number, post in enumerate(posts)
    ]
    write_jsonl(folder / "corpus.jsonl", [{"text": post["body"]} for post in posts[::10]] + words)
    write_jsonl(folder / "posts.jsonl", posts)
    path = location(
        str(folder), gather(str(folder), [str(folder / "corpus.jsonl")], lambda phase, rows: None)
    )
    chunks = list(read_pairs(Piece(str(folder / "posts.jsonl")), Reading("title", "body")))
    without_benchmarks(chunks[0], path)  # which reads the hashes
    start = time.process_time()
    kept = sum(without_benchmarks(chunk, path).table.num_rows for chunk in chunks)
    seconds = time.process_time() - start
    assert kept == ROWS - len(posts[::10])
    return {
        "what": f"compare with {len(words) + len(posts) // 10:,} texts of a benchmark, one core",
        "figure": f"{ROWS / seconds:,.0f} pairs/s",
        "reach": "",
        "holds": "",
    }
