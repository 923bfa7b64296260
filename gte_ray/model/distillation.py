"""Distil a teacher's scores beside a contrastive loss.

A teacher, such as a cross-encoder, has scored the documents of a pair's group: its own and its hard negatives.
Only the local pairs' own groups enter, so that the sum over ranks is the same for any number of ranks.

Legend: n local pairs, N pairs on all ranks, g documents of a group, D dimensions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gte_ray.config import TeacherLoss
from gte_ray.model.contrast import Contrast, Loss, Objective, Teacher
from gte_ray.model.loss import prefix

Term = Callable[[Tensor, Tensor, Tensor, float], Tensor]
"""From (n, g) similarities, (n, g) scores over the teacher's temperature, (n, g) flags of the documents that count, and the
student's temperature, to (n,) losses."""


@dataclass(frozen=True)
class Distilled:
    """An `Objective`: another one's loss, plus `weight` times the mean over all N pairs of the loss to the teacher.

    A pair whose own document or whose negatives were not scored adds nothing to that sum.
    """

    objective: Objective
    loss: TeacherLoss
    weight: float
    temperature: float
    """Of the student's similarities, for kl."""
    teacher_temperature: float
    levels: Sequence[tuple[int, float]] = ()
    """As in `JointLoss`: the loss is the weighted sum over these numbers of first dimensions."""

    def __call__(self, contrast: Contrast) -> Loss:
        assert contrast.teacher is not None
        teacher = contrast.teacher
        known = torch.isfinite(teacher.scores)
        used = known[:, :1] & known[:, 1:].any(1, keepdim=True)
        known = torch.where(used, known, torch.arange(known.shape[1], device=known.device) == 0)
        scores = (
            teacher.scores.nan_to_num(0.0, 0.0, 0.0).to(contrast.queries.dtype) / self.teacher_temperature
        )
        total = contrast.queries.new_zeros(())
        for dimensions, weight in self.levels or ((contrast.queries.shape[1], 1.0),):
            similarities = _groups(contrast, teacher, dimensions)
            rows = TERMS[self.loss](similarities, scores, known, self.temperature)
            total = total + weight * rows.sum()
        share = total / len(contrast.candidates.queries)
        result = self.objective(contrast)
        return result._replace(loss=result.loss + self.weight * share, distillation=share)


def _groups(contrast: Contrast, teacher: Teacher, dimensions: int) -> Tensor:
    """Return the (n, g) similarities of the local queries to the documents of their groups."""
    queries, documents, negatives = (
        prefix(x, dimensions) for x in (contrast.queries, contrast.documents, teacher.negatives)
    )
    similarities = queries.new_zeros(teacher.scores.shape)
    similarities[:, 0] = (queries * documents).sum(1)
    similarities[teacher.owners, teacher.places] = (queries[teacher.owners] * negatives).sum(1)
    return similarities


def _kl(similarities: Tensor, scores: Tensor, known: Tensor, temperature: float) -> Tensor:
    """KL divergence of the student's distribution over a group from the teacher's (E5, 2212.03533)."""
    target, student = (
        x.masked_fill(~known, -torch.inf).log_softmax(1).masked_fill(~known, 0.0)
        for x in (scores, similarities / temperature)
    )
    return (target.exp() * (target - student) * known).sum(1)


def _margin_mse(similarities: Tensor, scores: Tensor, known: Tensor, temperature: float) -> Tensor:
    """Mean squared difference of a group's margins, positive less negative, from the teacher's (2010.02666)."""
    apart = similarities[:, :1] - similarities - (scores[:, :1] - scores)
    negatives = known[:, 1:]
    return (apart[:, 1:].square() * negatives).sum(1) / negatives.sum(1).clamp(min=1)


TERMS: Mapping[TeacherLoss, Term] = {"kl": _kl, "margin-mse": _margin_mse}
