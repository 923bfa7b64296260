"""The improved contrastive loss (eqs. 5 and 6), local pairs against the pairs of all ranks, in tiles.

For pair i, with everything in one partition function,

    loss_i = log( sum_j e^(q_i.d_j/t) + sum_{j!=i} e^(q_i.q_j/t) + sum_j e^(q_j.d_i/t) + sum_{j!=i} e^(d_j.d_i/t) )
             - q_i.d_i/t

so the positive is counted twice, as printed. Hard negatives are more documents: candidates of all queries,
and of all documents but the positive that they belong to. `directions` takes a part of the four sums.

Memory is O(N D + tile): rows are taken a tile at a time, and because all columns of a tile are at hand its
log-sum-exps are final at once and its part of the gradient is computed there and then, in the forward pass.
Against keeping the log-sum-exps and computing tiles again in the backward pass this holds the same memory
and saves one of four matrix products.

Legend: n local pairs, N pairs of all ranks, m hard negatives of all ranks, M columns of a direction
(N, or N + m for documents), r rows of a tile, D dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gte_ray.config import Direction
from gte_ray.model.duplicates import Duplicates


@dataclass(frozen=True)
class Columns:
    """What the local pairs are contrasted with: the pairs of all ranks, in the order of ranks."""

    queries: Tensor
    """(N, D) unit vectors."""
    documents: Tensor
    """(N, D) unit vectors."""
    query_hashes: Tensor
    """(N,) int64, equal for equal texts."""
    document_hashes: Tensor
    """(N,) int64, equal for equal texts."""
    negatives: Tensor | None = None
    """(m, D) unit vectors of hard negatives."""
    negative_hashes: Tensor | None = None
    """(m,) int64; goes with `negatives`."""
    negative_owners: Tensor | None = None
    """(m,) int64, for each hard negative the pair among N that it belongs to; goes with `negatives`."""


class Loss(NamedTuple):
    """Shares of this rank: summed over ranks they are the figures of the whole batch."""

    loss: Tensor
    """Scalar with gradient: the sum over local pairs, divided by N."""
    correct: Tensor
    """Scalar: local queries that no candidate document is closer to than the positive, divided by N."""
    masked: Tensor
    """Scalar: documents and hard negatives that are masked for local pairs, divided by all of the batch's, N (N - 1 + m)."""


def contrastive_loss(
    queries: Tensor,
    documents: Tensor,
    columns: Columns,
    offset: int,
    *,
    temperature: float,
    directions: Sequence[Direction],
    mask_duplicates: bool,
    tile: int,
) -> Loss:
    """Eq. 5 over local pairs: `queries` and `documents` (n, D), which are rows `offset` on of `columns`.

    Gradients go to the local rows and to the columns, each for its part; where both come from the same
    embeddings, autograd (through `gather`) adds them up. Computed in float32, or float64 for float64.
    `tile` is the number of rows r whose similarities exist at one time. With `mask_duplicates`, a text is no
    negative of pair i when it is q_i, d_i, or a text of a pair that shares one of these (see `Duplicates`).
    """
    duplicates = None
    if mask_duplicates:
        hashes = columns.query_hashes, columns.document_hashes, columns.negative_hashes
        duplicates = Duplicates(*hashes, offset, len(queries))
    extra = queries.new_empty(0, queries.shape[1]) if columns.negatives is None else columns.negatives
    total, correct, masked = _ContrastiveLoss.apply(
        queries,
        documents,
        columns.queries,
        torch.cat([columns.documents, extra]),
        columns.negative_owners,
        duplicates,
        _Settings(offset, temperature, tuple(directions), tile),
    )
    n_global = len(columns.queries)
    negatives = n_global * max(n_global - 1 + len(extra), 1)
    return Loss(total / n_global, correct / n_global, masked / negatives)


class _Settings(NamedTuple):
    offset: int
    temperature: float
    directions: tuple[Direction, ...]
    tile: int


class _ContrastiveLoss(torch.autograd.Function):
    """Sum of the losses of local pairs; its gradient is made in the forward pass (see above)."""

    @staticmethod
    def forward(ctx, queries, documents, all_queries, all_documents, owners, duplicates, settings):
        inputs = (queries, documents, all_queries, all_documents)
        widest = torch.promote_types(queries.dtype, torch.float32)
        q, d, all_q, all_d = (x.to(widest) for x in inputs)
        wanted = any(ctx.needs_input_grad)
        gradients = tuple(torch.zeros_like(x) for x in (q, d, all_q, all_d)) if wanted else None
        total, correct, masked = (q.new_zeros(()) for _ in range(3))
        for start in range(0, len(q), settings.tile):
            rows = slice(start, start + settings.tile)
            tile = _Tile((q[rows], d[rows]), (all_q, all_d), settings, settings.offset + start)
            masked += tile.mask(owners, duplicates, rows)
            loss, right = tile.losses()
            total += loss
            correct += right
            if gradients is not None:
                tile.add_gradients(tuple(g[rows] for g in gradients[:2]), gradients[2:])
        if gradients is not None:
            ctx.save_for_backward(*(g.to(x.dtype) for g, x in zip(gradients, inputs, strict=True)))
        ctx.mark_non_differentiable(correct, masked)
        return total, correct, masked

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient, *_):
        return *(g * gradient for g in ctx.saved_tensors), None, None, None


class _Tile:
    """The similarities of r local pairs to all columns, one matrix for each direction."""

    def __init__(
        self, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor], settings: _Settings, first: int
    ):
        self.rows, self.columns, self.temperature = rows, columns, settings.temperature
        # Queries are 0 and documents 1: a pair's own query against documents is (0, 1), and so on. In eq. 6's
        # third sum d_i is fixed and the queries vary, so its rows are documents.
        self.kinds = {name: ("qd".index(name[0]), "qd".index(name[2])) for name in settings.directions}
        # Scaling the narrow operand saves a pass over the wide product.
        scaled = tuple(x / settings.temperature for x in rows)
        self.logits = {name: scaled[a] @ columns[b].T for name, (a, b) in self.kinds.items()}
        self.local = torch.arange(len(rows[0]), device=rows[0].device)
        self.own = self.local + first
        self.scale: Tensor

    def mask(self, owners: Tensor | None, duplicates: Duplicates | None, rows: slice) -> Tensor | int:
        """Takes out what is no candidate; returns how many negatives were taken out as duplicates."""
        n_global = len(self.columns[0])
        for name in ("q2q", "d2d"):
            if name in self.logits:
                self.logits[name][self.local, self.own] = -torch.inf
        if owners is not None and "d2d" in self.logits:
            self.logits["d2d"][:, n_global:].masked_fill_(owners == self.own[:, None], -torch.inf)
        if duplicates is None:
            return 0
        no_negatives = duplicates.of_rows(rows)
        for name, (_, b) in self.kinds.items():
            row, column = no_negatives[b]
            self.logits[name][row, column] = -torch.inf
        return len(no_negatives[1][0])

    def losses(self) -> tuple[Tensor, Tensor]:
        """The sum of the losses and the number of right answers; leaves e^(logit - highest) in `logits`."""
        positive = self.logits["q2d"][self.local, self.own]
        best = self.logits["q2d"].amax(1)
        highest = best
        for name, logits in self.logits.items():
            if name != "q2d":
                highest = torch.maximum(highest, logits.amax(1))
        z = torch.zeros_like(highest)
        for logits in self.logits.values():
            z += logits.sub_(highest[:, None]).exp_().sum(1)
        self.scale = 1 / (z * self.temperature)
        return (highest + z.log() - positive).sum(), (positive >= best).sum()

    def add_gradients(self, of_rows: tuple[Tensor, ...], of_columns: tuple[Tensor, ...]) -> None:
        """Adds d(sum of losses) with respect to the tile's rows and to all columns."""
        weighted = tuple(x * self.scale[:, None] for x in self.rows)
        for name, (a, b) in self.kinds.items():
            of_rows[a].addcmul_(self.logits[name] @ self.columns[b], self.scale[:, None])
            of_columns[b].addmm_(self.logits[name].T, weighted[a])
        # The positive's, which is in the numerator too.
        of_rows[0].sub_(self.columns[1][self.own], alpha=1 / self.temperature)
        of_columns[1][self.own] -= self.rows[0] / self.temperature
