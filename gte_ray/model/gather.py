"""Gather the embeddings of all ranks on every rank, with gradient.

How gradients are scaled: each rank's loss is the sum over its own rows divided by N, the number of pairs on
all ranks (`JointLoss`). The total loss is the sum of the ranks' losses, so every reduction is a plain sum:

- the backward pass of the gather sums all ranks' gradients for a row on the rank that owns the row;
- for parameters, DeepSpeed sums gradients ("gradient_allreduce_op": "sum" in `Engine`).

The result is the gradient of a single process that has all pairs. A mean in either place would break this.

Legend: n local rows, N rows on all ranks, W ranks, D dimensions.
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> tuple[int, int]:
    """Return this process's rank and the number of ranks; (0, 1) without torch.distributed."""
    if not dist.is_initialized():
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


@dataclass(frozen=True)
class Spread:
    """How the rows of a step are distributed over the ranks."""

    counts: tuple[int, ...]
    """(W,) rows on each rank; they may differ."""
    rank: int

    @property
    def local(self) -> int:
        """n, the number of rows on this rank."""
        return self.counts[self.rank]

    @property
    def total(self) -> int:
        """N, the number of rows on all ranks."""
        return sum(self.counts)

    @property
    def offset(self) -> int:
        """Index of this rank's first row among all rows."""
        return sum(self.counts[: self.rank])


def spread(local: int, device: torch.device) -> Spread:
    """Return how a step's rows are distributed, where this rank has `local` rows."""
    rank, size = world()
    if size == 1:
        return Spread((local,), 0)
    counts = torch.zeros(size, dtype=torch.int64, device=device)
    counts[rank] = local
    return Spread(tuple(sum_over_ranks(counts).tolist()), rank)


def gather(local: Tensor, rows: Spread) -> Tensor:
    """Return the (N, ...) rows of all ranks in rank order, from each rank's (n, ...) `local`.

    Differentiable if `local` requires gradient. Gather queries, documents and negatives separately: a
    gathered concatenation would be ordered rank by rank, and labels would no longer line up.
    """
    if len(rows.counts) == 1:
        return local
    return _Gather.apply(local, rows)


def sum_over_ranks(values: Tensor) -> Tensor:
    """Sum `values` over all ranks, in place, and return them."""
    if world()[1] > 1:
        dist.all_reduce(values)
    return values


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, local: Tensor, rows: Spread) -> Tensor:
        ctx.rows = rows
        parts = [local.new_empty(_largest(local, rows)) for _ in rows.counts]
        dist.all_gather(parts, _padded(local, rows))
        return torch.cat([part[:n] for part, n in zip(parts, rows.counts, strict=True)])

    @staticmethod
    def backward(ctx, gradient: Tensor):
        rows = ctx.rows
        own = gradient.new_empty(_largest(gradient, rows))
        dist.reduce_scatter(own, [_padded(part, rows) for part in gradient.split(rows.counts)])
        return own[: rows.local], None


def _largest(like: Tensor, rows: Spread) -> tuple[int, ...]:
    # Collectives need equal shapes, so every rank sends as many rows as the largest rank has.
    return (max(rows.counts), *like.shape[1:])


def _padded(part: Tensor, rows: Spread) -> Tensor:
    padded = part.new_zeros(_largest(part, rows))
    padded[: len(part)] = part
    return padded
