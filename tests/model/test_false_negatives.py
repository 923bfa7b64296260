"""Candidates that are far above a pair's own document are no negatives: against sentence-transformers and the formula."""

import pytest
import torch
import torch.nn.functional as F

from gte_ray.config import from_dict
from gte_ray.errors import UsageError
from gte_ray.model.duplicates import Duplicates
from gte_ray.model.loss import JointLoss
from gte_ray.model.objective import build_objective
from gte_ray.model.reference import reference_loss
from gte_ray.recipes import recipe
from tests.model.gist import gist
from tests.model.test_loss import (
    SUBSETS,
    assert_same,
    candidates_of,
    contrast_of,
    distinct,
    rows_of_a_rank,
    unit,
)

MARGIN = 0.1


@pytest.mark.parametrize("tile", [1, 4, 9])
@pytest.mark.parametrize("negatives", [False, True])
def test_equals_gist_embed_with_the_model_as_its_own_guide(negatives, tile):
    inputs = [(3 * unit(9, seed)).requires_grad_() for seed in range(2 + negatives)]
    theirs = gist(
        inputs, inputs, MARGIN, positives=not negatives
    )  # it has no sum of documents and hard negatives
    q, d, *extra = (F.normalize(x, dim=-1) for x in inputs)
    more = {"negative_hashes": distinct(9, 200), "negative_owners": distinct(9, 0)}
    contrast = contrast_of(candidates_of(q, d, **{"negatives": extra[0], **more} if negatives else {}))
    directions = ("q2d", "q2q") if negatives else ("q2d", "q2q", "d2d")
    found = JointLoss(0.05, directions, tile, margin=MARGIN)(contrast)
    assert found.masked_share > 0.1
    assert_same(found, theirs, inputs, rtol=1e-9)


@pytest.mark.parametrize("directions", SUBSETS, ids="+".join)
def test_equals_the_reference_on_the_rows_of_a_rank(directions):
    inputs, contrast = rows_of_a_rank()
    q, d, extra = inputs
    rows = {"q": q[2:6].detach(), "d": d[2:6].detach()}
    columns = {"q": q.detach(), "d": torch.cat([d, extra]).detach()}
    threshold = (rows["q"] * rows["d"]).sum(1, keepdim=True) + MARGIN
    above = {name: rows[name[0]] @ columns[name[2]].T > threshold for name in directions}
    assert above["q2d"].any() and not above["q2d"].all()
    expected = reference_loss(contrast, 0.1, directions, above)
    found = JointLoss(0.1, directions, 3, margin=MARGIN)(contrast)
    assert_same(found, expected, inputs)
    assert found.masked_share.item() == pytest.approx(above["q2d"].sum().item() / (7 * 11))


def test_the_ranks_of_a_batch_add_up_and_accuracy_is_that_without_a_margin():
    candidates = candidates_of(unit(8, 1), unit(8, 2), document_hashes=torch.tensor([7, 7, 1, 2, 3, 4, 5, 6]))
    loss = JointLoss(0.1, ("q2d", "q2q", "d2d"), 3, (Duplicates,), MARGIN)
    parts = [loss(contrast_of(candidates, start, stop)) for start, stop in ((0, 3), (3, 8))]
    whole, without = loss(contrast_of(candidates)), JointLoss(0.1, ("q2d",), 8, (Duplicates,))
    for found, expected in zip(map(sum, zip(*parts, strict=True)), whole, strict=True):
        assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    plain = without(contrast_of(candidates))
    assert whole.accuracy == plain.accuracy < 1
    assert whole.masked_share > plain.masked_share > 0  # a duplicate is counted once


def test_the_field_is_the_loss_and_makes_another_run():
    config = recipe("tiny", "store")
    saved = config.to_dict()
    assert config.objective.false_negative_margin == 0
    del saved["objective"]["false_negative_margin"]  # of an older version
    assert from_dict(saved) == config
    saved["objective"]["false_negative_margin"] = MARGIN
    other = from_dict(saved)
    assert build_objective(other).margin == MARGIN and build_objective(config).margin == 0
    assert other.fingerprint("s", "b") != config.fingerprint("s", "b")
    saved["objective"]["false_negative_margin"] = -0.1
    with pytest.raises(UsageError, match=r"--false-negative-margin is -0\.1; allowed is"):
        from_dict(saved)
