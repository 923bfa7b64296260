"""Gather the embeddings of all ranks on every rank, with gradient.

How gradients are scaled: each rank's loss is the sum over its own rows divided by N, the number of pairs on
all ranks (`JointLoss`). The total loss is the sum of the ranks' losses, so every reduction is a plain sum:

- the backward pass of the gather sums all ranks' gradients for a row on the rank that owns the row;
- for parameters, DeepSpeed sums gradients ("gradient_allreduce_op": "sum" in `Engine`).

The result is the gradient of a single process that has all pairs. A mean in either place would break this.

Legend: n local rows, N rows on all ranks, W ranks, D dimensions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
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


def spread(locals_: Sequence[int], device: torch.device) -> tuple[Spread, ...]:
    """Return how the rows of each kind are distributed, where this rank has `locals_` of them; one collective."""
    rank, size = world()
    counts = torch.zeros(size, len(locals_), dtype=torch.int64, device=device)
    counts[rank] = torch.tensor(locals_)
    return tuple(Spread(tuple(kind), rank) for kind in sum_over_ranks(counts).T.tolist())


def gather(rows: Spread, *local: Tensor) -> tuple[Tensor, ...]:
    """Return, for each of the (n, ...) `local`, the (N, ...) rows of all ranks in rank order; one collective.

    Differentiable with respect to those that require gradient, which must have one type; the backward pass is
    one collective, too. Queries, documents and negatives are separate tensors: in a gathered concatenation,
    ordered rank by rank, labels would no longer line up.
    """
    return local if len(rows.counts) == 1 else gather_over_ranks(rows, *local)


def gather_over_ranks(rows: Spread, *local: Tensor) -> tuple[Tensor, ...]:
    """Return what `gather` does, through the process group even if it has one rank."""
    return _Gather.apply(rows, *local)


def sum_over_ranks(values: Tensor) -> Tensor:
    """Sum `values` over all ranks, in place, and return them."""
    if world()[1] > 1:
        dist.all_reduce(values)
    return values


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: Spread, *local: Tensor) -> tuple[Tensor, ...]:
        ctx.rows = rows
        everything = _all_rows(torch.cat([_bytes(x) for x in local], dim=1), rows)
        parts = everything.split([_bytes(x[:0]).shape[1] for x in local], dim=1)
        gathered = tuple(
            part.contiguous().view(x.dtype).reshape(rows.total, *x.shape[1:])
            for part, x in zip(parts, local, strict=True)
        )
        wanted = zip(gathered, ctx.needs_input_grad[1:], strict=True)
        ctx.mark_non_differentiable(*(x for x, needed in wanted if not needed))
        return gathered

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *gradients: Tensor):
        wanted = [g for g, needed in zip(gradients, ctx.needs_input_grad[1:], strict=True) if needed]
        summed = _own_rows(torch.cat([_flat(g) for g in wanted], dim=1), ctx.rows)
        parts = iter(summed.split([_flat(g).shape[1] for g in wanted], dim=1))
        return None, *(
            next(parts).reshape(ctx.rows.local, *g.shape[1:]) if needed else None
            for g, needed in zip(gradients, ctx.needs_input_grad[1:], strict=True)
        )


def _flat(rows: Tensor) -> Tensor:
    """(n, elements of a row)."""
    return rows.reshape(len(rows), math.prod(rows.shape[1:]))


def _bytes(rows: Tensor) -> Tensor:
    """(n, bytes of a row) uint8, so that different types fit into one tensor."""
    return _flat(rows.detach()).contiguous().view(torch.uint8)


def _all_rows(local: Tensor, rows: Spread) -> Tensor:
    # Collectives need equal shapes, so every rank sends as many rows as the largest rank has.
    most = max(rows.counts)
    gathered = local.new_empty(len(rows.counts) * most, local.shape[1])
    dist.all_gather_into_tensor(gathered, _padded(local, most))
    parts = gathered.split([most] * len(rows.counts))
    return torch.cat([part[:n] for part, n in zip(parts, rows.counts, strict=True)])


def _own_rows(gradient: Tensor, rows: Spread) -> Tensor:
    most = max(rows.counts)
    own = gradient.new_empty(most, gradient.shape[1])
    parts = gradient.split(rows.counts)
    dist.reduce_scatter_tensor(own, torch.cat([_padded(part, most) for part in parts]))
    return own[: rows.local]


def _padded(part: Tensor, most: int) -> Tensor:
    return F.pad(part, (0, 0, 0, most - len(part)))
