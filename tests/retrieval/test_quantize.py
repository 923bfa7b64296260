"""Vectors in fewer bytes, against sentence-transformers."""

import numpy as np
import pytest
from sentence_transformers.util import quantize_embeddings

from gte_ray.retrieval.quantize import from_int8, int8_ranges, signs, to_int8


def vectors(n=200, width=48):
    drawn = np.random.default_rng(0).normal(size=(n, width)).astype(np.float32)
    drawn[:, 5] = 0.25  # a dimension that says nothing
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def test_codes_of_one_byte_are_those_of_sentence_transformers():
    known, other = vectors()[:100], vectors()[100:] * 1.3  # some out of the ranges
    ranges = int8_ranges(known)
    assert (to_int8(other, ranges) == quantize_embeddings(other, "int8", ranges=ranges)).all()
    assert {-128, 127} <= set(to_int8(other, ranges).ravel().tolist())


def test_what_codes_stand_for_is_half_a_step_away_at_most():
    known = vectors()
    ranges = int8_ranges(known)
    step = (ranges[1] - ranges[0]) / 255
    away = np.abs(from_int8(to_int8(known, ranges), ranges) - known)
    varied = step > 0
    assert (away[:, varied] <= 0.5001 * step[varied]).all()


def test_products_of_signs_rank_as_hamming_distances_do():
    known = vectors()
    bits = quantize_embeddings(known, "ubinary")
    distances = np.unpackbits(bits[:5, None] ^ bits[None], axis=-1).sum(-1)
    assert signs(known[:5]) @ signs(known).T == pytest.approx(48 - 2 * distances.astype(np.float32))
