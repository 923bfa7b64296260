"""Small inputs and a small prepared store."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from gte_ray.data.ids import Ids
from gte_ray.data.prepare_store import prepare
from gte_ray.readers.spec import SourceSpec

WORDS = [
    *("river", "stone", "cloud", "paper", "engine", "window", "garden", "metal", "signal", "winter"),
    *("market", "planet", "copper", "forest", "letter", "bridge", "Café", "naïve", "東京", "don't", "x-ray"),
    *("42", "3.14", "colour"),
]


def make_pairs(count: int, seed: int = 0, query_words: int = 5) -> list[tuple[str, str]]:
    """Pairs that are all different, of texts of mixed lengths."""
    rng = random.Random(seed)
    texts = [
        (" ".join(rng.choices(WORDS, k=query_words)), " ".join(rng.choices(WORDS, k=rng.randint(1, 40))))
        for _ in range(count)
    ]
    return [(f"{query} {number}", document) for number, (query, document) in enumerate(texts)]


def write_lines(path: Path, rows: Sequence[object]) -> Path:
    """JSON Lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


PAIRS = make_pairs(1_500) + make_pairs(200, seed=1) + make_pairs(100)  # the last are duplicates


@pytest.fixture
def source(tmp_path) -> SourceSpec:
    return SourceSpec("pairs", str(write_lines(tmp_path / "pairs.jsonl", PAIRS)), "code")


@pytest.fixture(scope="session")
def tiny_store(ray_local, tmp_path_factory) -> str:
    """Three sources of unlike sizes, the largest of several row groups, with token ids of up to 24 tokens."""
    folder = tmp_path_factory.mktemp("tiny")
    sizes = {"large": 2_500, "middle": 211, "small": 17}
    sources = []
    for number, (name, rows) in enumerate(sizes.items()):
        path = write_lines(folder / f"{name}.jsonl", [list(p) for p in make_pairs(rows, seed=number)])
        sources.append(SourceSpec(name, str(path), "others"))
    store = prepare(str(folder / "store"), sources, ids=Ids(vocabulary=300, max_length=24))
    return store.uri
