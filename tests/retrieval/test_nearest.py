"""The exact search against a brute-force one in numpy."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gte_ray.retrieval import nearest as module
from gte_ray.retrieval.nearest import nearest


@st.composite
def searches(draw):
    """Small whole numbers as coordinates, so that scores are exact and many are equal."""
    n, m, dimensions = draw(st.integers(1, 30)), draw(st.integers(1, 60)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    queries, documents = (rng.integers(-2, 3, (size, dimensions)) for size in (n, m))
    excluded = rng.integers(0, [n, m], (draw(st.integers(0, 40)), 2))
    k, block, tile = draw(st.integers(1, 9)), draw(st.integers(1, 20)), draw(st.sampled_from([11, 16]))
    return queries, documents, np.unique(excluded, axis=0), k, block, tile


@given(searches())
@settings(max_examples=150, deadline=None)
def test_equals_brute_force_with_ties_in_the_order_of_documents(search):
    queries, documents, excluded, k, block, tile = search
    with torch.no_grad():
        saved = module.QUERY_TILE, module.DOCUMENT_TILE
        module.QUERY_TILE, module.DOCUMENT_TILE = 7, tile
        try:
            vectors = torch.from_numpy(documents).float()
            found = nearest(
                torch.from_numpy(queries).float(), vectors.split(block), k, torch.from_numpy(excluded)
            )
        finally:
            module.QUERY_TILE, module.DOCUMENT_TILE = saved
    scores = (queries @ documents.T).astype(float)
    assert found.excluded.tolist() == scores[excluded[:, 0], excluded[:, 1]].tolist()
    scores[excluded[:, 0], excluded[:, 1]] = -np.inf
    for row, (got, documents_found) in enumerate(zip(found.scores, found.documents, strict=True)):
        order = np.lexsort((np.arange(len(documents)), -scores[row]))[:k]
        order = [document for document in order if scores[row, document] > -np.inf]
        rest = k - len(order)
        assert documents_found.tolist() == [*order, *[-1] * rest]
        assert got.tolist() == [*scores[row, order], *[-np.inf] * rest]
