"""What a model's vectors lose in fewer bytes, measured on held-out pairs, and what is needed to make them so.

Documents are quantised. Queries stay as they are, but for those that are compared by bits.

Legend: Q queries, N documents, D dimensions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np

from gte_ray.data.store import Store
from gte_ray.errors import RunError
from gte_ray.evaluation.heldout import HeldOut, held_out
from gte_ray.exporting.sections import add_section
from gte_ray.model.load import TextModel
from gte_ray.pretrained.identity import QUANTIZATION_FILE
from gte_ray.report.markdown import markdown_table
from gte_ray.retrieval.metrics import ranks
from gte_ray.retrieval.quantize import from_int8, int8_ranges, signs, to_int8
from gte_ray.runtime import storage

Precision = Literal["int8", "binary"]
CALIBRATION = 4_096
"""Most documents of training pairs from which the ranges of int8 are taken, of all sources together."""
RESCORED = 40
"""Documents that are found by bits and then ordered by the query's own vector."""


@dataclass(frozen=True)
class Measured:
    """Scores of one way to keep documents."""

    name: str
    bytes: int
    """Of a document's vector."""
    ndcg_at_10: float
    """Mean over sources, from 0 to 1."""


Score = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(q, D) queries and (N, D) documents, float32, to (q, N) scores."""


def quantize(
    model: TextModel,
    folder: str,
    store: Store,
    precisions: Sequence[Precision],
    limit: int,
    budget_tokens: int,
) -> list[Measured]:
    """Measures a model on at most `limit` held-out pairs of each source of `store`, with its vectors as they are and quantised.

    Writes the ranges of int8 and the scores to QUANTIZATION_FILE in `folder`, and a section of the card. Raises RunError if nothing is
    held out.
    """
    ranges = int8_ranges(model.documents(_training_documents(store), budget_tokens))
    width = ranges.shape[1]
    ways: dict[str, tuple[int, Score]] = {"float32": (4 * width, _exact)}
    if "int8" in precisions:
        ways["int8"] = (width, lambda q, d: _exact(q, from_int8(to_int8(d, ranges), ranges)))
    if "binary" in precisions:
        ways["binary"] = (-(-width // 8), lambda q, d: _exact(signs(q), signs(d)))
        ways["binary, rescored"] = (-(-width // 8), _rescored)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for task in held_out(store, limit):
        q, d = model.queries(task.queries, budget_tokens), model.documents(task.documents, budget_tokens)
        for name, (_, score) in ways.items():
            found[name].append(_ndcg(task, q, d, score))
    if not found["float32"]:
        raise RunError(
            f"{store.uri}: no source has held-out pairs by which quantised vectors could be measured"
        )
    rows = [Measured(name, size, fmean(found[name])) for name, (size, _) in ways.items()]
    content = {
        "int8_ranges": ranges.tolist() if "int8" in precisions else None,
        "held_out_ndcg_at_10": {row.name: round(row.ndcg_at_10, 4) for row in rows},
    }
    storage.write_json(storage.join(folder, QUANTIZATION_FILE), content)
    add_section(folder, "Quantised vectors", _section(rows, len(found["float32"])))
    return rows


def _training_documents(store: Store) -> list[str]:
    sources = [source for source in store.manifest.sources if source.rows]
    each = -(-CALIBRATION // len(sources))
    return [
        text
        for source in sources
        for text in store.read_rows(source.name, 0, min(each, source.rows), ["document"])
        .column(0)
        .to_pylist()
    ]


def _exact(q: np.ndarray, d: np.ndarray) -> np.ndarray:
    scores: np.ndarray = q @ d.T
    return scores


def _rescored(q: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Of the nearest by bits the inner products of the queries' own vectors with the documents' signs; far below for others."""
    bits, own = _exact(signs(q), signs(d)), _exact(q, signs(d))
    kept = min(RESCORED, len(d))
    lowest = np.partition(bits, len(d) - kept, axis=1)[:, len(d) - kept, None]
    return np.where(bits >= lowest, own, -np.float32(4 * d.shape[1]) + bits)


def _ndcg(task: HeldOut, q: np.ndarray, d: np.ndarray, score: Score) -> float:
    found = ranks(lambda start, stop: score(q[start:stop], d), len(d), task.pair_queries, task.pair_documents)
    return task.scores(found).ndcg_at_10


def table(rows: Sequence[Measured]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows, in percent."""
    whole = rows[0].ndcg_at_10
    return ["vectors", "bytes", "nDCG@10", "lost"], [
        [
            row.name,
            f"{row.bytes:,}",
            f"{100 * row.ndcg_at_10:.1f}",
            f"{round(100 * (whole - row.ndcg_at_10), 1) + 0.0:.1f}",
        ]
        for row in rows
    ]


def _section(rows: Sequence[Measured], sources: int) -> str:
    text = (
        f"nDCG@10 of held-out pairs in percent, mean of {sources} source(s), with the documents' vectors in "
        "fewer bytes and the queries' as they are. `binary` compares the signs of both; `rescored` orders the "
        f"{RESCORED} nearest so by the query's own vector.\n\n{markdown_table(*table(rows), numbers=True)}"
    )
    if all(row.name != "int8" for row in rows):
        return text
    return f"""{text}

The ranges of int8 are in `{QUANTIZATION_FILE}`, from documents of the training:

```python
import json
import numpy as np
from sentence_transformers.util import quantize_embeddings

ranges = np.array(json.load(open(f"{{folder}}/{QUANTIZATION_FILE}"))["int8_ranges"])
codes = quantize_embeddings(model.encode(["the sea is blue"]), precision="int8", ranges=ranges)
```"""
