"""Rows with fields of any depth, settings that make pairs of them, and files of rows."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gte_ray.readers.reading import Reading
from tests.data.conftest import write_lines

TICKETS = [
    {
        "subject": "s1",
        "body": {"text": "b1"},
        "score": 5,
        "lang": "en",
        "answers": [{"text": "a"}, {"text": "n"}],
    },
    {"subject": "s2", "body": {"text": "b2"}, "score": 1, "lang": "en", "answers": [{"text": "c"}]},
    {
        "subject": "s3",
        "body": {},
        "score": 9,
        "lang": "en",
        "answers": [{"text": "e"}, {"text": "m"}, {"text": "o"}],
    },
    {"subject": "s4", "body": {"text": "b4"}, "score": 9, "lang": "de", "answers": []},
    {"subject": "s5", "body": {"text": "b5"}, "score": 9, "lang": "en", "answers": []},
]
SETTINGS = Reading(
    query="{subject}\n{body.text}",
    document="answers[0].text",
    negatives="answers[1:].text",
    where="score >= 3 and lang == 'en'",
)


def write(path: Path, rows: list[Any]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        write_lines(path, rows)
    return path
