"""Main scores of resamples of pairs, against scipy and scikit-learn on the resamples themselves."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score

from gte_ray.evaluation.statistics import average_precision, spearman


def resamples(gold, similarities, n=60, count=25, seed=0):
    random = np.random.default_rng(seed)
    gold, similarities = gold(random, n), similarities(random, n)
    counts = random.multinomial(n, np.full(n, 1 / n), count)
    rows = [np.repeat(np.arange(n), row) for row in counts]
    return counts, gold, similarities, rows


def even(random, n):
    return random.random(n)


def tied(random, n):
    return random.integers(0, 4, n) / 4


def labels(random, n):
    return random.integers(0, 2, n)


@pytest.mark.parametrize("gold", [even, tied])
@pytest.mark.parametrize("similarities", [even, tied])
def test_rank_correlations(gold, similarities):
    counts, gold, similarities, rows = resamples(gold, similarities)
    expected = [spearmanr(gold[row], similarities[row]).statistic for row in rows]
    np.testing.assert_allclose(spearman(counts, gold, similarities), expected, atol=1e-12)


@pytest.mark.parametrize("similarities", [even, tied])
def test_average_precisions(similarities):
    counts, gold, similarities, rows = resamples(labels, similarities)
    expected = [average_precision_score(gold[row], similarities[row]) for row in rows]
    np.testing.assert_allclose(average_precision(counts, gold, similarities), expected, atol=1e-12)


def test_what_has_no_score():
    once, gold = np.ones((1, 3)), np.array([0.0, 1.0, 2.0])
    assert spearman(once, gold, np.ones(3)) == 0
    assert average_precision(once, np.zeros(3), gold) == 0
