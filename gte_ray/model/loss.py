"""The improved contrastive loss (eqs. 5 and 6) of local pairs against the pairs of all ranks, in tiles.

For pair i, with everything in one partition function,

    loss_i = log( sum_j e^(q_i.d_j/t) + sum_{j!=i} e^(q_i.q_j/t) + sum_j e^(q_j.d_i/t) + sum_{j!=i} e^(d_j.d_i/t) )
             - q_i.d_i/t

so the positive is counted twice, as printed. Hard negatives are additional documents: candidates for all
queries, and for all documents except the positive they belong to. `directions` selects from the four sums.
`reference.py` computes the same loss in a few lines.

Matryoshka (2205.13147) adds the same loss over the first k of the D dimensions, for several k, each times its
weight. Vectors are gathered once and cut here; what is masked is decided on whole vectors, for all k alike.

Memory is O(N D + tile). Rows are processed a tile at a time. A tile has all columns, so its log-sum-exps are
final and its part of the gradient is computed right away, in the forward pass. Storing the log-sum-exps and
recomputing tiles in the backward pass would take the same memory and four matrix products instead of three.

Legend: n local pairs, N pairs on all ranks, m hard negatives on all ranks, M columns of a direction
(N, or N + m for documents), r rows of a tile, D dimensions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gte_ray.config import Direction
from gte_ray.model.contrast import Contrast, Loss

Entries = Mapping[Direction, tuple[Tensor, Tensor]]
"""Entries of a tile's matrices by direction: (k,) rows, relative to the tile's first, and (k,) columns."""
TileMask = Callable[["Tile"], Entries]
"""Returns the entries of a tile that are not negatives; never the positive."""
Mask = Callable[[Contrast], TileMask]
"""Called once per step; the result is applied to each of its tiles."""


@dataclass(frozen=True)
class JointLoss:
    """An `Objective`: eq. 5 with the sums of `directions` in one partition function.

    Computed in float32, or in float64 for float64 input.
    """

    temperature: float
    directions: Sequence[Direction]
    tile: int
    """r, the number of rows whose similarities are in memory at a time."""
    masks: Sequence[Mask] = ()
    """Which candidates to mask, besides a pair's own texts."""
    margin: float = 0.0
    """Candidates whose similarity is above the positive's by more are masked, too; 0 for none."""
    levels: Sequence[tuple[int, float]] = ()
    """Numbers of dimensions k and their weights, with D first; empty for the whole vectors alone."""

    def __call__(self, contrast: Contrast) -> Loss:
        candidates = contrast.candidates
        documents = candidates.all_documents
        whole = (contrast.queries, contrast.documents, candidates.queries, documents)
        levels = self.levels or ((whole[0].shape[1], 1.0),)
        settings = _Settings(
            contrast.offset,
            self.temperature,
            tuple(self.directions),
            self.tile,
            candidates.negative_owners,
            tuple(mask(contrast) for mask in self.masks),
            self.margin,
            tuple(weight for _, weight in levels),
        )
        vectors = [prefix(x, dimensions) for dimensions, _ in levels for x in whole]
        total, correct, masked = _JointLoss.apply(settings, *vectors)
        n_global = len(candidates.queries)
        negatives = n_global * max(len(documents) - 1, 1)
        return Loss(total / n_global, correct / n_global, masked / negatives, total.new_zeros(()))


class _Settings(NamedTuple):
    offset: int
    temperature: float
    directions: tuple[Direction, ...]
    tile: int
    owners: Tensor | None
    masks: tuple[TileMask, ...]
    margin: float
    weights: tuple[float, ...]
    """Of the levels."""


def prefix(vectors: Tensor, dimensions: int) -> Tensor:
    """Return the first dimensions of unit vectors as unit vectors."""
    whole = dimensions == vectors.shape[1]
    return vectors if whole else torch.nn.functional.normalize(vectors[:, :dimensions], dim=-1)


class _JointLoss(torch.autograd.Function):
    """Weighted sum of the losses of local pairs; the forward pass also computes its gradient (see above).

    Four inputs for each level: local queries and documents, then those of all ranks.
    """

    @staticmethod
    def forward(ctx, settings, *inputs):
        widest = torch.promote_types(inputs[0].dtype, torch.float32)
        levels = _in_fours([x.to(widest) for x in inputs])
        needs_gradient = any(ctx.needs_input_grad)
        gradients = [[torch.zeros_like(x) for x in level] for level in levels] if needs_gradient else []
        total, correct, masked = (levels[0][0].new_zeros(()) for _ in range(3))
        for start in range(0, len(inputs[0]), settings.tile):
            tile = _tile(levels[0], settings, start)
            tile.leave_out_own(settings.owners)
            masked += tile.leave_out(settings.masks)
            correct += tile.ranked_first()  # of all that may be negatives, above the margin or not
            if settings.margin:
                masked += tile.leave_out_above(settings.margin)
            left_out = tile.left_out() if len(levels) > 1 else {}
            for k, weight in enumerate(settings.weights):
                if k:
                    tile = _tile(levels[k], settings, start)
                    tile.leave_out_same(left_out)
                total += weight * tile.losses()
                if gradients:
                    rows = slice(start, start + settings.tile)
                    tile.add_gradients(weight, tuple(g[rows] for g in gradients[k][:2]), gradients[k][2:])
        if gradients:
            flat = [g for level in gradients for g in level]
            ctx.save_for_backward(*(g.to(x.dtype) for g, x in zip(flat, inputs, strict=True)))
        ctx.mark_non_differentiable(correct, masked)
        return total, correct, masked

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient, *_):
        return None, *(g * gradient for g in ctx.saved_tensors)


def _in_fours(tensors: list[Tensor]) -> list[list[Tensor]]:
    return [tensors[start : start + 4] for start in range(0, len(tensors), 4)]


def _tile(level: Sequence[Tensor], settings: _Settings, start: int) -> "Tile":
    q, d, all_q, all_d = level
    rows = slice(start, start + settings.tile)
    return Tile((q[rows], d[rows]), (all_q, all_d), settings, start)


class Tile:
    """The similarities of r local pairs to all columns, one matrix per direction."""

    def __init__(
        self, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor], settings: _Settings, start: int
    ):
        self.rows, self.columns, self.temperature = rows, columns, settings.temperature
        self.start = start
        """Index of the tile's first pair among the local pairs."""
        # Queries are 0 and documents 1, so query against documents is (0, 1), and so on. In the third sum of
        # eq. 6, d_i is fixed and the queries vary, so its rows are documents.
        self.kinds = {name: ("qd".index(name[0]), "qd".index(name[2])) for name in settings.directions}
        # Scaling the narrow operand saves a pass over the wide product.
        scaled = tuple(x / settings.temperature for x in rows)
        self.logits = {name: scaled[a] @ columns[b].T for name, (a, b) in self.kinds.items()}
        """(r, M) by direction: similarities divided by the temperature, -inf for masked entries."""
        self.local = torch.arange(len(rows[0]), device=rows[0].device)
        self.own = self.local + settings.offset + start
        """(r,) indices of the pairs among the candidates."""
        self.scale: Tensor

    @property
    def positive(self) -> Tensor:
        """(r,) logits of the pairs' own documents."""
        return self.logits["q2d"][self.local, self.own]

    def leave_out_own(self, owners: Tensor | None) -> None:
        """Mask each text against itself, and each document against its own hard negatives."""
        n_global = len(self.columns[0])
        for name in ("q2q", "d2d"):
            if name in self.logits:
                self.logits[name][self.local, self.own] = -torch.inf
        if owners is not None and "d2d" in self.logits:
            self.logits["d2d"][:, n_global:].masked_fill_(owners == self.own[:, None], -torch.inf)

    def leave_out(self, masks: Sequence[TileMask]) -> Tensor:
        """Apply `masks`; return the number of documents they mask for queries."""
        masked = [mask(self) for mask in masks]  # before any is applied: a mask may read the logits
        count = self.local.new_zeros(())
        for entries in masked:
            for name, (row, column) in entries.items():
                if name == "q2d":
                    count += (self.logits[name][row, column] > -torch.inf).sum()
                self.logits[name][row, column] = -torch.inf
        return count

    def leave_out_above(self, margin: float) -> Tensor:
        """Mask entries that are above their pair's positive by more than `margin`, likely false negatives.

        Each by its own similarity, in all directions: the rule of Qwen3-Embedding (2506.05176), and in what it leaves
        open GISTEmbed's (2402.16829) with the model as its own guide. Returns the number of documents masked for queries.
        """
        highest = (self.positive + margin / self.temperature)[:, None]
        count = self.local.new_zeros(())
        for name, logits in self.logits.items():
            above = logits > highest
            if name == "q2d":
                count = above.sum()
            logits.masked_fill_(above, -torch.inf)
        return count

    def left_out(self) -> dict[Direction, Tensor]:
        """Return which entries are masked, (r, M) by direction."""
        return {name: logits == -torch.inf for name, logits in self.logits.items()}

    def leave_out_same(self, entries: Mapping[Direction, Tensor]) -> None:
        """Mask what another tile of the same rows has `left_out`."""
        for name, logits in self.logits.items():
            logits.masked_fill_(entries[name], -torch.inf)

    def ranked_first(self) -> Tensor:
        """Return the number of queries whose positive ranks first."""
        return (self.positive >= self.logits["q2d"].amax(1)).sum()

    def losses(self) -> Tensor:
        """Return the sum of the losses; leaves e^(logit - highest) in `logits`."""
        positive = self.positive
        highest = self.logits["q2d"].amax(1)
        for name, logits in self.logits.items():
            if name != "q2d":
                highest = torch.maximum(highest, logits.amax(1))
        z = torch.zeros_like(highest)
        for logits in self.logits.values():
            z += logits.sub_(highest[:, None]).exp_().sum(1)
        self.scale = 1 / (z * self.temperature)
        return (highest + z.log() - positive).sum()

    def add_gradients(self, weight: float, of_rows: Sequence[Tensor], of_columns: Sequence[Tensor]) -> None:
        """Add the gradient of `weight` times the summed losses with respect to the rows and to all columns."""
        scale = self.scale * weight
        weighted = tuple(x * scale[:, None] for x in self.rows)
        for name, (a, b) in self.kinds.items():
            of_rows[a].addcmul_(self.logits[name] @ self.columns[b], scale[:, None])
            of_columns[b].addmm_(self.logits[name].T, weighted[a])
        # The positive is also in the numerator.
        of_rows[0].sub_(self.columns[1][self.own], alpha=weight / self.temperature)
        of_columns[1][self.own] -= self.rows[0] / self.temperature * weight
