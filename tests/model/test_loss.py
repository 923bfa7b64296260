"""The tiled loss against the printed formula, against sentence-transformers, and by its properties."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import Tensor

from gte_ray.config.fields import IMPROVED
from gte_ray.model.contrast import Candidates, Contrast, Loss
from gte_ray.model.duplicates import Duplicates
from gte_ray.model.loss import JointLoss
from gte_ray.model.reference import reference_loss

SUBSETS = [("q2d", *rest) for k in range(4) for rest in itertools.combinations(IMPROVED[1:], k)]


def unit(n: int, seed: int, dtype=torch.float64) -> Tensor:
    return F.normalize(torch.randn(n, 6, generator=torch.Generator().manual_seed(seed), dtype=dtype), dim=-1)


def distinct(n: int, first: int) -> Tensor:
    return torch.arange(first, first + n)


def candidates_of(q: Tensor, d: Tensor, **more) -> Candidates:
    return Candidates(
        q, d, **{"query_hashes": distinct(len(q), 0), "document_hashes": distinct(len(d), 100)} | more
    )


def contrast_of(candidates: Candidates, start=0, stop=None) -> Contrast:
    own = slice(start, stop)
    return Contrast(candidates.queries[own], candidates.documents[own], candidates, start)


def loss_of(
    candidates: Candidates, start=0, stop=None, temperature=0.1, directions=IMPROVED, mask=False, tile=3
) -> Loss:
    objective = JointLoss(temperature, directions, tile, (Duplicates,) if mask else ())
    return objective(contrast_of(candidates, start, stop))


def rows_of_a_rank() -> tuple[list[Tensor], Contrast]:
    """Queries, documents and hard negatives, and pairs 2 to 5 of 7 among them."""
    inputs = [unit(n, seed).requires_grad_() for n, seed in ((7, 1), (7, 2), (5, 3))]
    more = {
        "negatives": inputs[2],
        "negative_hashes": distinct(5, 200),
        "negative_owners": torch.arange(5) % 3 + 1,
    }
    return inputs, contrast_of(candidates_of(*inputs[:2], **more), 2, 6)


def assert_same(found: Loss, expected: Tensor, inputs: list[Tensor], rtol: float = 1e-10) -> None:
    """The same loss, and the same gradients."""
    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-12)
    gradients = (torch.autograd.grad(loss, inputs) for loss in (found.loss, expected))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=1e-12)


def formula(
    c: Candidates, i: int, temperature: float, directions, masked=frozenset(), masked_negatives=frozenset()
):
    """-log of the softmax for pair i, summand by summand as eq. 6 prints it; `masked` are pairs left out."""
    q, d, z = c.queries, c.documents, []
    js = [j for j in range(len(q)) if j not in masked]
    if "q2d" in directions:
        z += [q[i] @ d[j] for j in js]
    if "q2q" in directions:
        z += [q[i] @ q[j] for j in js if j != i]
    if "d2q" in directions:
        z += [q[j] @ d[i] for j in js]
    if "d2d" in directions:
        z += [d[j] @ d[i] for j in js if j != i]
    for k in range(0 if c.negatives is None else len(c.negatives)):
        if k in masked_negatives:
            continue
        z += [q[i] @ c.negatives[k]]
        if "d2d" in directions and c.negative_owners[k] != i:
            z += [c.negatives[k] @ d[i]]
    return -math.log(math.exp(q[i] @ d[i] / temperature) / sum(math.exp(x / temperature) for x in z))


@pytest.mark.parametrize("directions", SUBSETS, ids=lambda d: "+".join(d))
def test_equals_the_formula_written_naively(directions):
    c = candidates_of(unit(7, 1), unit(7, 2))
    expected = sum(formula(c, i, 0.1, directions) for i in range(7)) / 7
    assert loss_of(c, directions=directions).loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("directions", SUBSETS, ids=lambda d: "+".join(d))
@pytest.mark.parametrize("negatives", [0, 5])
def test_equals_the_reference_in_value_and_gradient(directions, negatives):
    inputs = [unit(n, s).requires_grad_() for n, s in ((7, 1), (7, 2), (negatives, 3))]
    q, d, extra = inputs
    owners = torch.arange(negatives) % 3 + 1
    more = {"negatives": extra, "negative_hashes": distinct(negatives, 200), "negative_owners": owners}
    c = candidates_of(q, d, **more if negatives else {})
    wanted = inputs if negatives else inputs[:2]
    tiled = loss_of(c, 2, 6, directions=directions).loss
    plain = reference_loss(contrast_of(c, 2, 6), 0.1, directions)
    assert tiled.item() == pytest.approx(plain.item(), rel=1e-12)
    for a, b in zip(torch.autograd.grad(tiled, wanted), torch.autograd.grad(plain, wanted), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_the_reference_equals_the_formula_written_naively():
    c = candidates_of(
        unit(6, 1),
        unit(6, 2),
        negatives=unit(3, 3),
        negative_hashes=distinct(3, 200),
        negative_owners=distinct(3, 1),
    )
    left_out = {name: torch.zeros(6, 9 if name[2] == "d" else 6, dtype=torch.bool) for name in IMPROVED}
    for out in left_out.values():
        out[0, 3] = True
    expected = sum(formula(c, i, 0.1, IMPROVED, {3} if i == 0 else set()) for i in range(6)) / 6
    found = reference_loss(contrast_of(c), 0.1, IMPROVED, left_out)
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_local_rows_of_a_larger_batch_add_up_to_the_whole():
    c = candidates_of(unit(7, 1), unit(7, 2))
    parts = [loss_of(c, start, stop) for start, stop in ((0, 3), (3, 4), (4, 7))]
    whole = loss_of(c)
    assert sum(p.loss for p in parts).item() == pytest.approx(whole.loss.item(), rel=1e-12)
    assert sum(p.accuracy for p in parts).item() == pytest.approx(whole.accuracy.item())


@pytest.mark.parametrize("directions", [IMPROVED, ("q2d",), ("q2d", "d2q")])
@pytest.mark.parametrize("negatives", [False, True])
def test_gradients_of_rows_columns_and_negatives(directions, negatives):
    q, d, rows_q, rows_d, extra = (
        unit(n, s).requires_grad_() for n, s in ((5, 1), (5, 2), (3, 3), (3, 4), (4, 5))
    )

    def loss(rows_q, rows_d, q, d, extra):
        more = {"negatives": extra, "negative_hashes": distinct(4, 200), "negative_owners": distinct(4, 1)}
        c = candidates_of(q, d, **more if negatives else {})
        return JointLoss(0.2, directions, 2, (Duplicates,))(Contrast(rows_q, rows_d, c, 1)).loss

    inputs = (rows_q, rows_d, q, d, extra.detach() if not negatives else extra)
    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("negatives", [0, 1, 2])
def test_equals_sentence_transformers(negatives):
    inputs = [(3 * unit(6, s)).requires_grad_() for s in range(2 + negatives)]  # it normalises by itself
    theirs = MultipleNegativesRankingLoss(
        torch.nn.Identity(),
        scale=100.0,
        directions=("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc"),
        partition_mode="joint",
    ).compute_loss_from_embeddings(inputs, None)
    q, d, *extra = [F.normalize(x, dim=-1) for x in inputs]
    more = {}
    if negatives:
        more["negatives"] = torch.cat(extra)
        more["negative_hashes"] = distinct(6 * negatives, 200)
        more["negative_owners"] = distinct(6, 0).repeat(negatives)
    ours = loss_of(candidates_of(q, d, **more), temperature=0.01, mask=True, tile=4).loss
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-10)
    for a, b in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_pairs_that_share_a_text_are_no_negatives_of_each_other():
    # 0 and 1 share a query, 2 and 3 a document, 4's query is 5's document; 6 is a pair of twice one text.
    c = candidates_of(
        unit(8, 1),
        unit(8, 2),
        query_hashes=torch.tensor([1, 1, 3, 4, 5, 6, 7, 8]),
        document_hashes=torch.tensor([11, 12, 13, 13, 15, 5, 7, 18]),
        negatives=unit(3, 3),
        negative_hashes=torch.tensor([13, 7, 99]),
        negative_owners=torch.tensor([0, 2, 6]),
    )
    masked = {0: {1}, 1: {0}, 2: {3}, 3: {2}, 4: {5}, 5: {4}}
    negatives = {2: {0}, 3: {0}, 6: {1}}
    for i in range(8):
        expected = formula(c, i, 0.1, IMPROVED, masked.get(i, set()), negatives.get(i, set()))
        found = loss_of(c, i, i + 1, mask=True)
        assert found.loss.item() * 8 == pytest.approx(expected, rel=1e-12)
        count = len(masked.get(i, ())) + len(negatives.get(i, ()))
        assert found.masked_share.item() == pytest.approx(count / (8 * (7 + 3)))
    unmasked = loss_of(c, 0, 1, mask=False)
    assert unmasked.loss.item() * 8 == pytest.approx(formula(c, 0, 0.1, IMPROVED), rel=1e-12)
    assert unmasked.masked_share == 0


def test_batch_of_one_text_masks_everything():
    same = torch.zeros(5, dtype=torch.int64)
    found = loss_of(candidates_of(unit(5, 1), unit(5, 2), query_hashes=same), mask=True)
    assert found.masked_share == 1
    assert found.loss.item() == pytest.approx(math.log(2))  # the positive, twice


def test_float32_at_the_papers_temperature_neither_overflows_nor_underflows():
    """Logits up to 100, all in one direction: exp(100) is no float32."""
    q = unit(4, 1, torch.float32).requires_grad_()
    c = candidates_of(q, q, query_hashes=distinct(4, 0), document_hashes=distinct(4, 50))
    found = loss_of(c, temperature=0.01).loss
    (gradient,) = torch.autograd.grad(found, q)
    opposite = loss_of(candidates_of(q, -q), temperature=0.01).loss
    exact = loss_of(candidates_of(q.detach().double(), -q.detach().double()), temperature=0.01).loss
    assert found.item() == pytest.approx(math.log(2), abs=1e-5)
    assert torch.isfinite(gradient).all()
    assert opposite.item() == pytest.approx(exact.item(), rel=1e-6)


def test_half_precision_is_computed_in_float32():
    q, d = unit(5, 1).half().requires_grad_(), unit(5, 2).half()
    found = loss_of(candidates_of(q, d), temperature=0.01).loss
    exact = loss_of(candidates_of(q.detach().double(), d.double()), temperature=0.01).loss
    found.backward()
    assert found.dtype == torch.float32
    assert q.grad is not None and q.grad.dtype == torch.float16
    assert found.item() == pytest.approx(exact.item(), rel=1e-5)


def test_accuracy_counts_queries_whose_document_is_the_closest():
    eye = torch.eye(4, 6, dtype=torch.float64)
    documents = eye[[0, 1, 3, 2]]  # the last two are closest to each other's
    assert loss_of(candidates_of(eye, documents)).accuracy.item() == 0.5


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 9), seed=st.integers(0, 99), tile=st.integers(1, 12), data=st.data())
def test_neither_order_nor_tile_matters(n, seed, tile, data):
    order = data.draw(st.permutations(range(n)))
    texts = torch.tensor(data.draw(st.lists(st.integers(0, 2 * n), min_size=2 * n, max_size=2 * n)))
    q, d = unit(n, seed), unit(n, seed + 1000)
    one = loss_of(Candidates(q, d, texts[:n], texts[n:]), mask=True, tile=100)
    other = loss_of(Candidates(q[order], d[order], texts[:n][order], texts[n:][order]), mask=True, tile=tile)
    for a, b in zip(one, other, strict=True):
        assert a.item() == pytest.approx(b.item(), rel=1e-10, abs=1e-12)


@settings(max_examples=80, deadline=None)
@given(n=st.integers(2, 7), m=st.integers(0, 5), data=st.data())
def test_no_known_positive_is_a_negative_wherever_it_stands(n, m, data):
    """Against sets of texts: q, d and the texts of each pair that has one of the two, whatever column they are in."""
    draw = st.lists(st.integers(0, 2 * n), min_size=n, max_size=n)
    qs, ds = data.draw(draw), data.draw(draw)
    hard = data.draw(st.lists(st.integers(0, 3 * n), min_size=m, max_size=m))
    owners = [k % n for k in range(m)]
    c = Candidates(unit(n, 1), unit(n, 2), torch.tensor(qs), torch.tensor(ds))
    if m:
        more = torch.tensor(hard), torch.tensor(owners)
        c = Candidates(unit(n, 1), unit(n, 2), torch.tensor(qs), torch.tensor(ds), unit(m, 3), *more)
    for i in range(n):
        related = set()
        for q, d in zip(qs, ds, strict=True):
            if {q, d} & {qs[i], ds[i]}:
                related |= {q, d}
        q, d = c.queries, c.documents
        z = [q[i] @ d[j] for j in range(n) if j == i or ds[j] not in related]
        z += [q[i] @ q[j] for j in range(n) if j != i and qs[j] not in related]
        z += [q[j] @ d[i] for j in range(n) if j == i or qs[j] not in related]
        z += [d[j] @ d[i] for j in range(n) if j != i and ds[j] not in related]
        kept = [k for k in range(m) if hard[k] not in related]
        z += [q[i] @ c.negatives[k] for k in kept]
        z += [c.negatives[k] @ d[i] for k in kept if owners[k] != i]
        expected = torch.logsumexp(torch.stack(z) / 0.1, 0) - q[i] @ d[i] / 0.1
        found = loss_of(c, i, i + 1, mask=True)
        assert found.loss.item() * n == pytest.approx(expected.item(), rel=1e-10)
        taken = sum(ds[j] in related for j in range(n) if j != i) + m - len(kept)
        assert found.masked_share.item() == pytest.approx(taken / (n * max(n - 1 + m, 1)))
