"""Losses to a teacher's scores: against sentence-transformers, with scores missing, and by rank."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss, MarginMSELoss

from gte_ray.config import PairsConfig, from_dict, validate
from gte_ray.errors import UsageError
from gte_ray.model.contrast import Contrast, Teacher
from gte_ray.model.distillation import Distilled
from gte_ray.model.loss import JointLoss
from gte_ray.model.objective import build_objective
from gte_ray.recipes import recipe
from tests.model.test_loss import candidates_of, distinct
from tests.model.test_matryoshka import LEVELS, assert_same_gradients, leaves

PAIRS, NEGATIVES = 5, 3
STUDENT, TEACHER = 0.05, 2.0
INNER = JointLoss(STUDENT, ("q2d", "q2q", "d2q", "d2d"), 2)


def teacher_scores() -> torch.Tensor:
    scores = torch.randn(PAIRS, 1 + NEGATIVES, generator=torch.Generator().manual_seed(3))
    return 5 * scores


def contrast_of(vectors: list[torch.Tensor], scores: torch.Tensor, start=0, stop=PAIRS) -> Contrast:
    """Of pairs `start` to `stop`; negatives are in the order of the pairs."""
    q, d, negatives = vectors
    owners = distinct(PAIRS, 0).repeat_interleave(NEGATIVES)
    candidates = candidates_of(
        q, d, negatives=negatives, negative_hashes=distinct(len(owners), 200), negative_owners=owners
    )
    own, hard = slice(start, stop), slice(start * NEGATIVES, stop * NEGATIVES)
    places = distinct(NEGATIVES, 1).repeat(stop - start)
    teacher = Teacher(scores[own], negatives[hard], owners[hard] - start, places)
    return Contrast(q[own], d[own], candidates, start, teacher)


def distilled(loss, weight=1.0, levels=()):
    return Distilled(INNER, loss, weight, STUDENT, TEACHER, levels)


def theirs(loss: str, vectors: list[torch.Tensor], scores: torch.Tensor) -> torch.Tensor:
    q, d, negatives = vectors
    columns = [q, d, *negatives.view(PAIRS, NEGATIVES, -1).unbind(1)]
    if loss == "margin-mse":
        return MarginMSELoss(torch.nn.Identity()).compute_loss_from_embeddings(columns, scores / TEACHER)
    kl = DistillKLDivLoss(
        torch.nn.Identity(), student_temperature=STUDENT, teacher_temperature=TEACHER
    ).compute_loss_from_embeddings(columns, scores)
    return kl / STUDENT**2


@pytest.mark.parametrize("loss", ["kl", "margin-mse"])
@pytest.mark.parametrize("levels", [(), LEVELS], ids=["whole", "prefixes"])
def test_equals_sentence_transformers(loss, levels):
    inputs = leaves(PAIRS, PAIRS, PAIRS * NEGATIVES)
    scores = teacher_scores().double()
    vectors = [F.normalize(x, dim=-1) for x in inputs]
    inner = INNER(contrast_of(vectors, scores)).loss
    expected = sum(
        weight * theirs(loss, [F.normalize(x[:, :k], dim=-1) for x in inputs], scores)
        for k, weight in levels or ((6, 1.0),)
    )
    found = distilled(loss, 0.25, levels)(contrast_of(vectors, scores))
    assert found.distillation.item() == pytest.approx(expected.item(), rel=1e-12)
    assert found.loss.item() == pytest.approx((inner + 0.25 * expected).item(), rel=1e-12)
    assert_same_gradients(found.loss, inner + 0.25 * expected, inputs)


@pytest.mark.parametrize("loss", ["kl", "margin-mse"])
def test_what_was_not_scored_does_not_count(loss):
    """A negative without a score is as if it were not in the group; a pair without scores adds nothing."""
    inputs = leaves(PAIRS, PAIRS, PAIRS * NEGATIVES)
    vectors = [F.normalize(x, dim=-1) for x in inputs]
    scores = teacher_scores()
    scores[0, 0] = torch.nan
    scores[1, 1:] = torch.nan
    scores[2, 2] = torch.nan
    found = distilled(loss)(contrast_of(vectors, scores)).distillation
    q, d, negatives = vectors
    hard = negatives.view(PAIRS, NEGATIVES, -1)
    expected = torch.zeros((), dtype=torch.float64)
    for pair, places in ((2, [0, 2]), (3, [0, 1, 2]), (4, [0, 1, 2])):
        student = q[pair] @ torch.cat([d[pair, None], hard[pair, places]]).T
        target = scores[pair, [0, *(place + 1 for place in places)]].double() / TEACHER
        if loss == "kl":
            p = target.softmax(0)
            expected = expected + (p * (p.log() - (student / STUDENT).log_softmax(0))).sum()
        else:
            apart = (student[0] - student[1:]) - (target[0] - target[1:])
            expected = expected + apart.square().mean()
    assert found.item() == pytest.approx(expected.item() / PAIRS, rel=1e-6)
    for a, b in zip(
        *(torch.autograd.grad(x, vectors, retain_graph=True) for x in (found, expected / PAIRS)), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)
    nothing = distilled(loss)(contrast_of(vectors, torch.full_like(scores, torch.nan)))
    assert nothing.distillation == 0
    assert torch.equal(nothing.loss, INNER(contrast_of(vectors, scores)).loss)
    for gradient in torch.autograd.grad(nothing.distillation, vectors, retain_graph=True):
        assert not gradient.any()


@pytest.mark.parametrize("loss", ["kl", "margin-mse"])
def test_a_student_that_agrees_with_its_teacher_has_no_loss(loss):
    vectors = [F.normalize(x, dim=-1) for x in leaves(PAIRS, PAIRS, PAIRS * NEGATIVES)]
    q, d, negatives = vectors
    own = torch.cat([d[:, None], negatives.view(PAIRS, NEGATIVES, -1)], 1)
    similarities = torch.einsum("nd,ngd->ng", q, own).detach()
    scores = 7 + TEACHER * similarities / (STUDENT if loss == "kl" else 1)
    found = distilled(loss)(contrast_of(vectors, scores)).distillation
    assert found.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("loss", ["kl", "margin-mse"])
def test_the_ranks_add_up(loss):
    inputs = leaves(PAIRS, PAIRS, PAIRS * NEGATIVES)
    vectors, scores = [F.normalize(x, dim=-1) for x in inputs], teacher_scores()
    scores[1, 2] = torch.nan
    whole = distilled(loss)(contrast_of(vectors, scores))
    parts = [distilled(loss)(contrast_of(vectors, scores, *own)) for own in ((0, 2), (2, 5))]
    for found, wanted in zip(map(sum, zip(*parts, strict=True)), whole, strict=True):
        assert found.item() == pytest.approx(wanted.item(), rel=1e-12)
    assert_same_gradients(parts[0].loss + parts[1].loss, whole.loss, inputs)


def test_the_config_turns_it_on_and_off():
    plain = replace(recipe("tiny", "store"), data=PairsConfig("store", group_size=4)).to_dict()
    same = validate(from_dict(plain | {"objective": plain["objective"] | {"teacher_loss": "margin-mse"}}))
    taught = validate(from_dict(plain | {"objective": plain["objective"] | {"teacher_weight": 0.5}}))
    prints = [config.fingerprint("pairs", "base") for config in (from_dict(plain), same, taught)]
    assert prints[0] == prints[1] != prints[2]
    assert isinstance(build_objective(same), JointLoss)
    assert build_objective(taught).weight == 0.5
    bare = taught.to_dict()
    bare["data"]["group_size"] = 1
    with pytest.raises(
        UsageError, match=r"--teacher-weight is 0.5; allowed is 0 for pairs without negatives"
    ):
        validate(from_dict(bare))
