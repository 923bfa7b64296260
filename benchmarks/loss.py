"""The tiled loss against a naive one: time and extra memory, forward and backward.

python -m benchmarks.loss [--pairs-in-batch 4096] [--dimensions 384] [--tile COLUMNS] [--threads 2]
"""

import argparse
import ctypes
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from gte_ray.config import IMPROVED
from gte_ray.model.contrast import Candidates, Contrast
from gte_ray.model.duplicates import Duplicates
from gte_ray.model.loss import JointLoss
from gte_ray.model.reference import reference_loss
from gte_ray.recipes.paper import tiny

TEMPERATURE = 0.01


def naive_loss(q: Tensor, d: Tensor) -> Tensor:
    """Eqs. 5 and 6 with whole matrices and autograd."""
    return reference_loss(_contrast(q, d), TEMPERATURE)


def tiled_loss(q: Tensor, d: Tensor, tile: int) -> Tensor:
    """The trainer's loss with duplicates masked; the input has one pair of duplicates."""
    return JointLoss(TEMPERATURE, IMPROVED, tile, (Duplicates,))(_contrast(q, d)).loss


def _contrast(q: Tensor, d: Tensor) -> Contrast:
    hashes = torch.arange(2 * len(q))
    hashes[1] = 0
    return Contrast(q, d, Candidates(q, d, hashes[: len(q)], hashes[len(q) :]), 0)


def best_seconds(functions: list[Callable[[], object]], repeats: int) -> list[float]:
    """The best time of each function. They take turns, so that a busy machine slows all of them."""
    best = [float("inf")] * len(functions)
    for _ in range(repeats):
        for i, function in enumerate(functions):
            begun = time.perf_counter()
            function()
            best[i] = min(best[i], time.perf_counter() - begun)
    return best


def extra_bytes(function: Callable[[], None]) -> int:
    """Peak memory of this process during the call, minus its memory before (Linux with glibc)."""
    ctypes.CDLL(None).malloc_trim(0)  # freed memory that is not returned would hide what the call takes
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # resets the peak
    before = _status("VmRSS")
    function()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(field))


def measure(
    n: int = 4096,
    dimensions: int = 384,
    tile: int = tiny("").hardware.loss_tile,
    threads: int = 2,
    repeats: int = 5,
) -> list[dict]:
    """One row for time and one for memory, as `make bench` prints them."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    raw = torch.randn(2, n, dimensions)
    q, d = (F.normalize(x, dim=-1).requires_grad_() for x in raw)

    def run(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], None]:
        return lambda: torch.autograd.grad(loss(q, d), (q, d)) and None

    naive, tiled = run(naive_loss), run(lambda q, d: tiled_loss(q, d, tile))
    naive(), tiled()
    naive_seconds, tiled_seconds = best_seconds([naive, tiled], repeats)
    naive_bytes, tiled_bytes = extra_bytes(naive), extra_bytes(tiled)
    time_ratio, memory_ratio = tiled_seconds / naive_seconds, tiled_bytes / naive_bytes
    where = f"N = {n:,}, D = {dimensions}, tiles of {tile} columns"
    return [
        {
            "what": f"loss, time against the naive one ({where})",
            "figure": f"{time_ratio:.2f} x ({tiled_seconds:.2f} s : {naive_seconds:.2f} s)",
            "value": time_ratio,
            "reach": "<= 1.2 x",
            "holds": "yes" if time_ratio <= 1.2 else "no",
        },
        {
            "what": f"loss, extra memory against the naive one ({where})",
            "figure": f"1/{1 / memory_ratio:.0f} ({tiled_bytes / 2**20:.0f} MiB : {naive_bytes / 2**20:.0f} MiB)",
            "value": memory_ratio,
            "reach": "<= 1/8",
            "holds": "yes" if memory_ratio <= 1 / 8 else "no",
        },
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs-in-batch", type=int, default=4096)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--tile", type=int, default=tiny("").hardware.loss_tile)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    for row in measure(given.pairs_in_batch, given.dimensions, given.tile, given.threads):
        print(f"{row['what']:75} {row['figure']:28} reach {row['reach']:9} holds: {row['holds']}")
