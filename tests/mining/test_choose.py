"""What is chosen among found documents, against its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gte_ray.errors import UsageError
from gte_ray.mining.choose import Window, choose, no_candidates

FOUND = np.array([[4, 3, 2, 1, -1], [0, 1, 2, 3, 4]])
SCORES = np.array([[0.9, 0.8, 0.7, 0.6, -np.inf], [0.9, 0.5, 0.4, 0.3, 0.2]])
POSITIVES = np.array([0.75, 0.45])
HASHES = np.array([11, 12], np.uint64), np.array([21, 22], np.uint64)


def chosen(**settings):
    pairs, documents = choose(FOUND, SCORES, POSITIVES, *HASHES, Window(last_rank=5, **settings))
    assert pairs.tolist() == sorted(pairs)
    return [documents[pairs == pair].tolist() for pair in range(2)]


@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([-np.inf, -0.1, 0.0, 0.1]), st.integers(0, 9))
def test_only_ranks_of_the_window_and_scores_below_the_margin(first, negatives, margin, seed):
    for pair, documents in enumerate(chosen(first_rank=first, negatives=negatives, margin=margin, seed=seed)):
        allowed = [
            document
            for document, score in list(zip(FOUND[pair], SCORES[pair], strict=True))[first - 1 :]
            if document >= 0 and score <= POSITIVES[pair] - margin
        ]
        assert set(documents) <= set(allowed)
        assert len(set(documents)) == len(documents) == min(negatives, len(allowed))


def test_the_seed_draws_among_the_candidates():
    draws = [chosen(first_rank=1, negatives=2, seed=seed) for seed in range(60)]
    assert draws[7] == chosen(first_rank=1, negatives=2, seed=7)
    first = [document for draw in draws for document in draw[1]]
    counts = np.bincount(first, minlength=5)
    assert counts.min() >= 10 and counts.sum() == 120  # each is drawn 24 times in the mean


def test_a_positive_that_was_not_retrieved_has_nothing_below_a_margin():
    found = choose(FOUND, SCORES, np.array([-np.inf, -np.inf]), *HASHES, Window(1, 5, 0.0))
    assert len(found[0]) == 0
    found = choose(FOUND, SCORES, np.array([-np.inf, -np.inf]), *HASHES, Window(1, 5))
    assert len(found[0]) == 9


def test_no_candidates_are_all_positives_of_a_query_and_equal_texts():
    pairs = no_candidates(np.array([1, 0, 1]), np.array([2, 0, 0]), np.array([[0, 3], [1, 2]]))
    assert pairs.tolist() == [[0, 0], [0, 3], [1, 0], [1, 2]]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"first_rank": 0}, "--first-rank is 0"),
        ({"first_rank": 5, "last_rank": 4}, "the first not after the last"),
        ({"negatives": 0}, "--negatives is 0; allowed is at least 1"),
        ({"seed": -1}, "--seed is -1"),
    ],
)
def test_settings_out_of_range(settings, sentence):
    with pytest.raises(UsageError, match=sentence):
        Window(**settings)
