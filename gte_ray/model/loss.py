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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gte_ray.config import Direction
from gte_ray.model.contrast import Contrast, Guide, Loss
from gte_ray.model.tile import Tile, TileMask

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
    guide_margin: float | None = None
    """As `margin`, by the similarities of the contrast's guide; None for no guide."""

    def __call__(self, contrast: Contrast) -> Loss:
        guide = None
        if self.guide_margin is not None:
            assert contrast.guide is not None
            guide = contrast.guide, self.guide_margin
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
            guide,
            tuple(weight for _, weight in levels),
        )
        vectors = [prefix(x, dimensions) for dimensions, _ in levels for x in whole]
        total, correct, masked = _JointLoss.apply(settings, *vectors)
        n_global = len(candidates.queries)
        negatives = n_global * max(len(documents) - 1, 1)
        _, above, above_guides = shares = masked / negatives
        unused = total.new_zeros(())
        return Loss(total / n_global, correct / n_global, shares.sum(), above, above_guides, unused)


class _Settings(NamedTuple):
    offset: int
    temperature: float
    directions: tuple[Direction, ...]
    tile: int
    owners: Tensor | None
    masks: tuple[TileMask, ...]
    margin: float
    guide: tuple[Guide, float] | None
    """With its margin."""
    weights: tuple[float, ...]
    """Of the levels."""


def prefix(vectors: Tensor, dimensions: int) -> Tensor:
    """Return the first dimensions of unit vectors as unit vectors."""
    whole = dimensions == vectors.shape[1]
    return vectors if whole else torch.nn.functional.normalize(vectors[:, :dimensions], dim=-1)


class _JointLoss(torch.autograd.Function):
    """Weighted sum of the losses of local pairs; the forward pass also computes its gradient (see above).

    Four inputs for each level: local queries and documents, then those of all ranks. Returns, with the sum, how many
    positives rank first, and how many documents are masked by `masks`, the margin and the guide: (3,).
    """

    @staticmethod
    def forward(ctx, settings, *inputs):
        widest = torch.promote_types(inputs[0].dtype, torch.float32)
        levels = _in_fours([x.to(widest) for x in inputs])
        needs_gradient = any(ctx.needs_input_grad)
        gradients = [[torch.zeros_like(x) for x in level] for level in levels] if needs_gradient else []
        total, correct, masked = (levels[0][0].new_zeros(size) for size in ((), (), 3))
        for start in range(0, len(inputs[0]), settings.tile):
            rows = slice(start, start + settings.tile)
            place = (rows, settings.offset, settings.directions)
            tile = Tile(levels[0], *place, settings.temperature)
            tile.leave_out_own(settings.owners)
            masked[0] += tile.leave_out(settings.masks)
            correct += tile.ranked_first()  # of all that may be negatives, above a margin or not
            if settings.margin:
                masked[1] += tile.leave_out_same(tile.above(settings.margin))
            if settings.guide is not None:
                vectors, margin = settings.guide
                masked[2] += tile.leave_out_same(Tile(vectors, *place, temperature=1.0).above(margin))
            left_out = tile.left_out() if len(levels) > 1 else {}
            for k, weight in enumerate(settings.weights):
                if k:
                    tile = Tile(levels[k], *place, settings.temperature)
                    tile.leave_out_same(left_out)
                total += weight * tile.losses()
                if gradients:
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
