"""A small benchmark in BEIR's layout."""

import json
from pathlib import Path

CORPUS = [
    f"{a} {b} words" for a in ("stone", "river", "cloud", "light") for b in ("old", "new", "red", "wet")
]
QUERIES = [text[:8] for text in CORPUS[:6]]
"""Each is the beginning of the document of its number, which is relevant to it."""


def write_benchmark(folder: Path) -> None:
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", CORPUS), ("queries", QUERIES)):
        lines = [
            json.dumps({"_id": f"{name}{number}", "title": "", "text": text})
            for number, text in enumerate(texts)
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    judged = "".join(f"queries{number}\tcorpus{number}\t1\n" for number in range(len(QUERIES)))
    (folder / "qrels/test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
