"""Embeddings of all ranks on every rank, with gradient; and the one place where gradients are scaled.

The algebra. Each rank's loss is the sum over its own rows divided by N, the pairs of all ranks together
(`JointLoss`). The whole loss is the sum of the ranks' losses, so every reduction is a plain sum:

- backward of the gather: the gradients that all ranks have for a row, summed, go to the row's owner;
- parameters: DeepSpeed's "gradient_allreduce_op": "sum" (`Engine`).

The result is the gradient of one process that has all pairs. With a mean in either place it is not.

Legend: n local rows, N rows of all ranks, W ranks, D dimensions.
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> tuple[int, int]:
    """This process's rank and the number of ranks; (0, 1) without torch.distributed."""
    if not dist.is_initialized():
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


@dataclass(frozen=True)
class Spread:
    """How the rows of a step are spread over the ranks."""

    counts: tuple[int, ...]
    """Rows of each rank, W of them; they may differ."""
    rank: int

    @property
    def local(self) -> int:
        """n."""
        return self.counts[self.rank]

    @property
    def total(self) -> int:
        """N."""
        return sum(self.counts)

    @property
    def offset(self) -> int:
        """Where this rank's rows begin among all."""
        return sum(self.counts[: self.rank])


def spread(local: int, device: torch.device) -> Spread:
    """The rows of all ranks, where this one has `local`."""
    rank, size = world()
    if size == 1:
        return Spread((local,), 0)
    counts = torch.zeros(size, dtype=torch.int64, device=device)
    counts[rank] = local
    return Spread(tuple(sum_over_ranks(counts).tolist()), rank)


def gather(local: Tensor, rows: Spread) -> Tensor:
    """All ranks' rows in the order of ranks, (N, ...), from each rank's (n, ...).

    With gradient where `local` has one. Queries, documents and negatives are gathered each on their own:
    a gathered concatenation has them rank by rank, and labels no longer line up.
    """
    if len(rows.counts) == 1:
        return local
    return _Gather.apply(local, rows)


def sum_over_ranks(values: Tensor) -> Tensor:
    """`values` summed over all ranks, in place."""
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
    # Collectives want equal shapes: every rank sends as many rows as the largest has.
    return (max(rows.counts), *like.shape[1:])


def _padded(part: Tensor, rows: Spread) -> Tensor:
    padded = part.new_zeros(_largest(part, rows))
    padded[: len(part)] = part
    return padded
