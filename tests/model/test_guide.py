"""A guide says which candidates are no negatives: against sentence-transformers' GISTEmbed and the formula."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gte_ray.config import from_dict
from gte_ray.errors import UsageError
from gte_ray.model.contrast import Contrast, Guide
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

Q2Q = ("q2d", "q2q", "d2d")


def guided(contrast: Contrast, seed: int = 50) -> Contrast:
    """`contrast` with a guide of other vectors, of other width."""
    n, m = len(contrast.candidates.queries), len(contrast.candidates.all_documents)
    queries, documents = (
        F.normalize(
            torch.randn(size, 9, generator=torch.Generator().manual_seed(seed + k), dtype=torch.float64),
            dim=-1,
        )
        for k, size in enumerate((n, m))
    )
    own = contrast.own
    return replace(contrast, guide=Guide(queries[own], documents[own], queries, documents))


def above(contrast: Contrast, margin: float, directions) -> dict[str, Tensor]:
    """Which entries the guide finds nearer than the pair's own document, which is never one of them."""
    guide = contrast.guide
    rows = {"q": guide.queries, "d": guide.documents}
    columns = {"q": guide.all_queries, "d": guide.all_documents}
    threshold = (guide.queries * guide.documents).sum(1, keepdim=True) + margin
    found = {name: rows[name[0]] @ columns[name[2]].T > threshold for name in directions}
    for flags in found.values():
        flags[torch.arange(len(flags)), contrast.own] = False
    return found


@pytest.mark.parametrize("margin", [0.0, 0.2])
@pytest.mark.parametrize("negatives", [False, True])
def test_equals_gist_embed(negatives, margin):
    inputs = [(3 * unit(9, seed)).requires_grad_() for seed in range(2 + negatives)]
    q, d, *extra = (F.normalize(x, dim=-1) for x in inputs)
    more = {"negative_hashes": distinct(9, 200), "negative_owners": distinct(9, 0)}
    contrast = guided(
        contrast_of(candidates_of(q, d, **{"negatives": extra[0], **more} if negatives else {}))
    )
    guide = contrast.guide
    columns = [guide.all_queries, *guide.all_documents.split(9)]
    theirs = gist(inputs, columns, margin, positives=not negatives)
    found = JointLoss(0.05, Q2Q[: 3 - negatives], 4, guide_margin=margin)(contrast)
    assert found.guide_share == found.masked_share > 0.1
    assert_same(found, theirs, inputs, rtol=1e-9)


@pytest.mark.parametrize("margin", [-0.3, 0.1])
@pytest.mark.parametrize("directions", SUBSETS, ids="+".join)
def test_equals_the_reference_on_the_rows_of_a_rank(directions, margin):
    """With a margin below 0 the own document is above it too, and stays."""
    inputs, contrast = rows_of_a_rank()
    contrast = guided(contrast)
    flags = above(contrast, margin, directions)
    assert flags["q2d"].any() and not flags["q2d"].all()
    expected = reference_loss(contrast, 0.1, directions, flags)
    found = JointLoss(0.1, directions, 3, guide_margin=margin)(contrast)
    assert_same(found, expected, inputs)
    assert found.guide_share.item() == pytest.approx(flags["q2d"].sum().item() / (7 * 11))


def test_each_reason_is_counted_once_and_the_dimensions_share_them():
    candidates = candidates_of(
        unit(8, 1), unit(8, 2), document_hashes=torch.tensor([107, 107, 101, 102, 103, 104, 105, 106])
    )
    contrast = guided(contrast_of(candidates))
    own, of_guide = 0.1, 0.2
    found = JointLoss(0.1, Q2Q, 3, (Duplicates,), own, guide_margin=of_guide)(contrast)
    alone = JointLoss(0.1, Q2Q, 3, (Duplicates,))(contrast)
    without = JointLoss(0.1, Q2Q, 3, (Duplicates,), own)(contrast)
    assert found.masked_share.item() == pytest.approx(
        alone.masked_share.item() + found.margin_share.item() + found.guide_share.item()
    )
    assert found.margin_share == without.margin_share > 0 and found.guide_share > 0
    similar = contrast.queries @ contrast.documents.T
    margin = similar > similar.diagonal()[:, None] + own
    both = margin | above(contrast, of_guide, ("q2d",))["q2d"]
    both[0, 1] = both[1, 0] = True  # the duplicates
    assert found.masked_share.item() == pytest.approx(both.sum().item() / (8 * 7))
    assert found.accuracy == alone.accuracy
    levels = JointLoss(0.1, Q2Q, 3, (Duplicates,), own, ((6, 1.0), (2, 0.5)), of_guide)(contrast)
    assert levels.masked_share == found.masked_share and levels.loss > found.loss


def test_the_field_is_the_loss_and_its_weights_make_another_run():
    config = recipe("tiny", "store")
    saved = config.to_dict()
    for name in ("guide", "guide_margin"):
        del saved["objective"][name]  # of an older version
    assert from_dict(saved) == config
    saved["objective"] |= {"guide": "somewhere", "guide_margin": 0.1}
    other = from_dict(saved)
    assert build_objective(config).guide_margin is None and build_objective(other).guide_margin == 0.1
    moved = replace(other, objective=replace(other.objective, guide="elsewhere"))
    marks = [found.fingerprint("s", "b", "guide") for found in (config, other, moved)]
    assert marks[0] != marks[1] == marks[2] != other.fingerprint("s", "b", "another")
    unused = replace(config, objective=replace(config.objective, guide_margin=0.3))
    assert unused.fingerprint("s", "b") == config.fingerprint("s", "b")
    saved["objective"]["guide_margin"] = 2.5
    with pytest.raises(UsageError, match=r"--guide-margin is 2\.5; allowed is"):
        from_dict(saved)
