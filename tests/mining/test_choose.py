"""What is chosen among found documents, against its definition."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import mine_hard_negatives

from gte_ray.errors import UsageError
from gte_ray.mining.choose import Window, choose, no_candidates
from gte_ray.model.load import load_model
from gte_ray.retrieval.nearest import nearest
from tests.model.folders import bare_folder, model_folder

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
        ({"relative_margin": 1.0}, "--relative-margin is 1; allowed is a share below 1"),
    ],
)
def test_settings_out_of_range(settings, sentence):
    with pytest.raises(UsageError, match=sentence):
        Window(**settings)


@pytest.mark.parametrize("relative", [-0.1, 0.0, 0.2])
@pytest.mark.parametrize("negatives", [1, 2, 5])
def test_the_best_of_those_below_a_share_of_the_positive(negatives, relative):
    for pair, documents in enumerate(
        chosen(first_rank=1, negatives=negatives, relative_margin=relative, sampling="top")
    ):
        highest = POSITIVES[pair] - relative * abs(POSITIVES[pair])
        allowed = [d for d, s in zip(FOUND[pair], SCORES[pair], strict=True) if d >= 0 and s <= highest]
        assert documents == allowed[:negatives]


def test_a_share_of_a_score_below_zero_is_below_it_too():
    found = choose(FOUND[:1], SCORES[:1] - 1.2, POSITIVES[:1] - 1.2, HASHES[0][:1], HASHES[1][:1],
                   Window(1, 5, relative_margin=0.2, sampling="top"))  # fmt: skip
    assert found[1].tolist() == [1]  # -0.6, which is below -0.45 - 0.09; -0.5 is not


def test_negatives_below_a_share_are_those_of_sentence_transformers(tmp_path):
    folder = model_folder(bare_folder(tmp_path / "bare"), tmp_path / "model")
    words = ["river", "stone", "cloud", "over", "how", "sort", "list", "of", "a", "the"]
    random = np.random.default_rng(0)
    queries = [" ".join(random.choice(words, 9)) for _ in range(40)]
    documents = [query.rsplit(" ", 1)[0] + f" {word}" for query, word in zip(queries, words * 4, strict=True)]
    theirs = mine_hard_negatives(
        Dataset.from_dict({"query": queries, "document": documents}),
        SentenceTransformer(folder, device="cpu"),
        relative_margin=0.05, num_negatives=4, sampling_strategy="top", range_max=30,
        output_format="n-tuple", verbose=False,
    )  # fmt: skip
    model = load_model(folder)
    q, d = torch.from_numpy(model.queries(queries, 500)), torch.from_numpy(model.documents(documents, 500))
    own = torch.arange(40).repeat(2, 1).T
    found = nearest(q, [d], 30, own)
    hashes = np.arange(40, dtype=np.uint64)
    window = Window(1, 30, negatives=4, relative_margin=0.05, sampling="top")
    pairs, chosen = choose(
        found.documents.numpy(), found.scores.numpy(), found.excluded.numpy(), hashes, hashes, window
    )
    ours = {
        queries[pair]: [documents[number] for number in chosen[pairs == pair]]
        for pair in range(40)
        if (pairs == pair).sum() == 4
    }
    expected = {row["query"]: [row[f"negative_{n}"] for n in range(1, 5)] for row in theirs}
    assert len(expected) > 20
    assert ours == expected


def test_what_is_off_is_not_in_the_identity():
    assert Window().identity().keys() == {"first_rank", "last_rank", "margin", "negatives", "seed"}
    assert Window(relative_margin=0.05, sampling="top").identity().keys() == asdict(Window()).keys()
