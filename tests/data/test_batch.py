"""The digest of a batch: the same for the same pairs, however they are dealt out."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gte_ray.data.batch import PairBatch
from tests.train.runs import lists

HASHES = st.integers(0, 2**64 - 1)
GROUPS = st.lists(st.tuples(HASHES, HASHES, st.lists(HASHES, max_size=3)), min_size=1, max_size=12)


def batch(groups) -> PairBatch:
    queries, documents, negatives = zip(*groups, strict=True)
    owners = np.repeat(np.arange(len(groups)), [len(found) for found in negatives])
    numbers = [
        np.array(values, np.uint64)
        for values in (queries, documents, [h for found in negatives for h in found])
    ]
    return PairBatch(0, "a", lists([]), lists([]), numbers[0], numbers[1], lists([]), numbers[2], owners)


@given(GROUPS, st.integers(0, 12))
def test_the_digests_of_shards_sum_up(groups, cut):
    whole = batch(groups).digest
    parts = [part for part in (groups[:cut], groups[cut:]) if part]
    assert sum(batch(part).digest for part in parts) == whole
    assert float(whole) == whole < 2**53


@settings(max_examples=1000)
@given(GROUPS, st.data())
def test_another_text_gives_another_digest(groups, data):
    number = data.draw(st.integers(0, len(groups) - 1))
    query, document, negatives = groups[number]
    other = data.draw(HASHES.filter(lambda value: value not in (query, document)))
    changed = [
        (other, document, negatives),
        (query, other, negatives),
        (query, document, [*negatives, other]),
    ]
    digests = {batch([*groups[:number], row, *groups[number + 1 :]]).digest for row in changed}
    assert len(digests | {batch(groups).digest}) == 4


def test_a_document_and_a_hard_negative_are_not_the_same():
    assert batch([(1, 2, [3])]).digest != batch([(1, 3, [2])]).digest
    assert batch([(7, 0, [5])]).digest != batch([(7, 5, [0])]).digest
