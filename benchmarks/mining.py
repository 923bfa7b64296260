"""The exact search of mining against the bare matrix products that it needs.

python -m benchmarks.mining [--texts 100000] [--dimensions 384] [--kept 100] [--threads 2]
"""

import argparse
import time

import torch
import torch.nn.functional as F

from gte_ray.mining.task import BLOCK_TEXTS
from gte_ray.retrieval.nearest import DOCUMENT_TILE, QUERY_TILE, nearest

REACH = 0.7
"""Share of the bare product's speed."""


def measure(
    texts: int = 100_000, dimensions: int = 384, kept: int = 100, threads: int = 2
) -> list[dict[str, str]]:
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    queries, documents = (
        F.normalize(torch.randn(texts, dimensions, generator=generator), dim=1) for _ in range(2)
    )
    own = torch.arange(texts)
    bare = searched = 0.0
    # Block by block in turn, so that a busy machine slows both.
    for block in queries.split(BLOCK_TEXTS):
        begun = time.perf_counter()
        for rows in block.split(QUERY_TILE):
            for tile in documents.split(DOCUMENT_TILE):
                rows @ tile.T
        between = time.perf_counter()
        excluded = torch.stack([torch.arange(len(block)), own[: len(block)]], dim=1)
        nearest(block, documents.split(BLOCK_TEXTS), kept, excluded)
        bare += between - begun
        searched += time.perf_counter() - between
    share = bare / searched
    what = f"mining {texts:,} x {texts:,}, D = {dimensions}, {kept} kept, {threads} threads"
    figure = f"{share:.0%} of the bare product's speed ({searched:.0f} s, {bare:.0f} s)"
    return [
        {
            "what": what,
            "figure": figure,
            "reach": f">= {REACH:.0%}",
            "holds": "yes" if share >= REACH else "no",
        }
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--kept", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    for row in measure(**vars(parser.parse_args())):
        print(row["what"], "|", row["figure"], "| reach", row["reach"], "|", row["holds"])
