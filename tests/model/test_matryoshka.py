"""The loss over first dimensions too: against sentence-transformers, the formula, and one rank."""

import pytest
import torch
import torch.nn.functional as F
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from gte_ray.config import from_dict, validate
from gte_ray.errors import UsageError
from gte_ray.model.duplicates import Duplicates
from gte_ray.model.loss import JointLoss
from gte_ray.model.objective import build_objective
from gte_ray.model.reference import reference_loss
from gte_ray.recipes import recipe
from tests.model.test_loss import SUBSETS, candidates_of, contrast_of, distinct, unit

LEVELS = ((6, 1.0), (3, 0.5), (2, 0.25))
NAMES = {"q2d": "query_to_doc", "q2q": "query_to_query", "d2q": "doc_to_query", "d2d": "doc_to_doc"}


def leaves(*counts: int) -> list[torch.Tensor]:
    """Float64 vectors of 6 dimensions, before normalisation."""
    return [(3 * unit(n, seed)).requires_grad_() for seed, n in enumerate(counts)]


def assert_same_gradients(found, expected, inputs):
    for a, b in zip(
        torch.autograd.grad(found, inputs, retain_graph=True),
        torch.autograd.grad(expected, inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("tile", [1, 4, 9])
@pytest.mark.parametrize("directions", SUBSETS, ids="+".join)
@pytest.mark.parametrize("negatives", [False, True])
def test_equals_sentence_transformers_on_shrunk_vectors(negatives, directions, tile):
    inputs = leaves(*[9] * (2 + negatives))
    theirs = MultipleNegativesRankingLoss(
        torch.nn.Identity(), scale=1 / 0.05, directions=tuple(NAMES[name] for name in directions)
    )
    expected = sum(
        weight * theirs.compute_loss_from_embeddings([F.normalize(x[:, :k], dim=-1) for x in inputs], None)
        for k, weight in LEVELS
    )
    q, d, *extra = (F.normalize(x, dim=-1) for x in inputs)
    more = {"negative_hashes": distinct(9, 200), "negative_owners": distinct(9, 0)}
    contrast = contrast_of(candidates_of(q, d, **{"negatives": extra[0], **more} if negatives else {}))
    found = JointLoss(0.05, directions, tile, levels=LEVELS)(contrast)
    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert_same_gradients(found.loss, expected, inputs)


def test_masks_of_the_whole_vectors_hold_for_all_and_the_ranks_add_up():
    q, d = inputs = leaves(8, 8)
    q, d = (F.normalize(x, dim=-1) for x in inputs)
    candidates = candidates_of(q, d, document_hashes=torch.tensor([100, 100, *range(102, 108)]))
    directions = ("q2d", "q2q", "d2q", "d2d")
    loss = JointLoss(0.1, directions, 3, (Duplicates,), 0.1, LEVELS)
    whole = loss(contrast_of(candidates))
    vectors = {"q": q.detach(), "d": d.detach()}
    threshold = (vectors["q"] * vectors["d"]).sum(1, keepdim=True) + 0.1
    left_out = {name: vectors[name[0]] @ vectors[name[2]].T > threshold for name in directions}
    for name in directions:
        left_out[name][0, 1] = left_out[name][1, 0] = True  # the pairs that share a document
    expected = torch.zeros((), dtype=torch.float64)
    for k, weight in LEVELS:
        prefix = [F.normalize(x[:, :k], dim=-1) for x in (q, d)]
        expected = expected + weight * reference_loss(
            contrast_of(candidates_of(*prefix)), 0.1, directions, left_out
        )
    assert whole.loss.item() == pytest.approx(expected.item(), rel=1e-12)
    parts = [loss(contrast_of(candidates, start, stop)) for start, stop in ((0, 3), (3, 8))]
    for found, wanted in zip(map(sum, zip(*parts, strict=True)), whole, strict=True):
        assert found.item() == pytest.approx(wanted.item(), rel=1e-12)
    assert_same_gradients(parts[0].loss + parts[1].loss, expected, inputs)
    plain = JointLoss(0.1, directions, 3, (Duplicates,), 0.1)(contrast_of(candidates))
    assert (whole.accuracy, whole.masked_share) == (plain.accuracy, plain.masked_share)


def config_of(**objective):
    saved = recipe("tiny", "store").to_dict()
    saved["objective"] |= objective
    return validate(from_dict(saved))


def test_the_fields_are_the_loss_and_make_another_run_whatever_their_order():
    plain = config_of()
    assert build_objective(plain).levels == ()
    first = config_of(dimensions=[32, 128], dimension_weights=[0.5, 1])
    same = config_of(dimensions=[128, 32], dimension_weights=[1, 0.5])
    assert build_objective(first).levels == ((128, 1.0), (32, 0.5))
    others = (plain, config_of(dimensions=[128, 32]), config_of(dimensions=[128, 64]))
    marks = [config.fingerprint("s", "b") for config in (first, same, *others)]
    assert marks[0] == marks[1] and len(set(marks)) == 4
    old = plain.to_dict()
    del old["objective"]["dimensions"], old["objective"]["dimension_weights"]  # of an older version
    assert from_dict(old).fingerprint("s", "b") == plain.fingerprint("s", "b")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"dimensions": [64, 32]}, "--dimensions is '64 32'; allowed are 128, which the model's vectors have"),
        ({"dimensions": [256, 128]}, "--dimensions is '256 128'; allowed are 128"),
        ({"dimensions": [128, 128]}, "--dimensions is '128 128'; allowed is each once"),
        ({"dimensions": [128, 0]}, "--dimensions is 0; allowed is a number of at least 1"),
        ({"dimensions": [128], "dimension_weights": [1, 2]}, "--dimension-weights is '1 2'; allowed is one for each"),
        ({"dimension_weights": [1]}, "--dimension-weights is '1'; allowed is one for each of dimensions (0)"),
        ({"dimensions": [128], "dimension_weights": [-1]}, "--dimension-weights is -1; allowed is a number above 0"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_allowed_is_said(values, said):
    with pytest.raises(UsageError, match=r"^--dim") as error:
        config_of(**values)
    assert said in str(error.value)
