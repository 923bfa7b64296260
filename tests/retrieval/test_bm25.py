"""The index of BM25 is the library's to the last bit."""

import bm25s
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gte_ray.retrieval.bm25 import K1, B, Bm25

WORDS = ["larch", "Larch", "tree", "needles", "needles", "the", "of", "x", "", "東京"]
DOCUMENTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join), min_size=1, max_size=9)


@settings(deadline=None, max_examples=60)
@given(DOCUMENTS)
def test_the_index_is_that_of_the_library(documents):
    corpus = bm25s.tokenize(documents, stopwords="english", show_progress=False)
    ours = Bm25(documents)
    assert ours.has_words == bool(corpus.vocab)
    if not ours.has_words:
        return
    library = bm25s.BM25(k1=K1, b=B, method="lucene", backend="numpy", auto_compile=False)
    library.index(corpus, show_progress=False)
    assert ours.index.vocab_dict == library.vocab_dict
    assert ours.index.scores["num_docs"] == library.scores["num_docs"]
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(ours.index.scores[part], library.scores[part], strict=part == "data")


def test_scores_by_hand():
    """Two documents of one and three words; `larch` is in both, `sheds` in the second."""
    scores = Bm25(["larch", "a larch sheds needles"]).scores(["larch sheds", "nothing"])
    lengths, mean = np.array([1, 3]), 2.0
    saturation = 1 / (K1 * (1 - B + B * lengths / mean) + 1)
    larch, sheds = np.log(1 + 0.5 / 2.5), np.log(1 + 1.5 / 1.5)
    assert scores[0] == pytest.approx([larch * saturation[0], (larch + sheds) * saturation[1]], rel=1e-6)
    assert not scores[1].any()
