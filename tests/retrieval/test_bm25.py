"""The index of BM25 is the library's to the last bit, words and scores alike."""

import bm25s
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gte_ray.retrieval import bm25
from gte_ray.retrieval.bm25 import K1, B, Bm25

WORDS = [
    "larch",
    "Larch",
    "tree",
    "needles",
    "needles",
    "the",
    "of",
    "x",
    "a_b",
    "c3po",
    "東京",
    "é",
    "Straße",
    "İst",
]
BETWEEN = st.sampled_from([" ", "  ", "-", ".", "\n", "\u00a0", "ा", "'"])
DOCUMENT = st.lists(st.tuples(st.sampled_from(WORDS), BETWEEN).map("".join), max_size=9).map("".join)
ASSIGNED = st.characters(exclude_categories=["Cn", "Cs", "Co"])


def columns(index) -> dict:
    """Documents and scores of each word that occurs."""
    data, indices, starts = (index.scores[part] for part in ("data", "indices", "indptr"))
    return {
        word: (indices[starts[n] : starts[n + 1]].tolist(), data[starts[n] : starts[n + 1]].tolist())
        for word, n in index.vocab_dict.items()
        if n + 1 < len(starts) and starts[n] < starts[n + 1]
    }


def assert_the_librarys(documents):
    corpus = bm25s.tokenize(documents, stopwords="english", show_progress=False)
    ours = Bm25(documents)
    assert ours.has_words == bool(corpus.vocab)
    if ours.has_words:
        library = bm25s.BM25(k1=K1, b=B, method="lucene", backend="numpy", auto_compile=False)
        library.index(corpus, show_progress=False)
        assert columns(ours.index) == columns(library)
        for query in (documents[0], "", "larch"):
            ids = library.get_tokens_ids(
                bm25s.tokenize(query, stopwords="english", return_ids=False, show_progress=False)[0]
            )
            np.testing.assert_array_equal(ours.scores([query])[0], library.get_scores_from_ids(ids))


@settings(deadline=None, max_examples=60)
@given(st.lists(DOCUMENT, min_size=1, max_size=9), st.integers(1, 10))
def test_the_index_is_that_of_the_library(documents, at_a_time):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bm25, "CUT_DOCUMENTS", at_a_time)
        assert_the_librarys(documents)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.text(ASSIGNED, max_size=30), min_size=1, max_size=4))
def test_words_of_any_characters(documents):
    assert_the_librarys(documents)


def test_scores_by_hand():
    """Two documents of one and three words; `larch` is in both, `sheds` in the second."""
    scores = Bm25(["larch", "a larch sheds needles"]).scores(["larch sheds", "nothing"])
    lengths, mean = np.array([1, 3]), 2.0
    saturation = 1 / (K1 * (1 - B + B * lengths / mean) + 1)
    larch, sheds = np.log(1 + 0.5 / 2.5), np.log(1 + 1.5 / 1.5)
    assert scores[0] == pytest.approx([larch * saturation[0], (larch + sheds) * saturation[1]], rel=1e-6)
    assert not scores[1].any()


def test_no_documents_and_none_with_words():
    assert Bm25([]).scores(["larch"]).shape == (1, 0)
    assert Bm25(["\ud83d larch", "x"]).scores(["larch"])[0, 0] > 0
    assert Bm25(["of", "the"]).scores(["larch"]).tolist() == [[0, 0]]
