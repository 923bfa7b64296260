"""Vectors in fewer bytes: one byte or one bit for each dimension, as sentence-transformers quantises them.

Legend: n vectors, D dimensions.
"""

import numpy as np

LEVELS = 255
"""Steps between the lowest and the highest value of a dimension in one byte."""


def int8_ranges(vectors: np.ndarray) -> np.ndarray:
    """Return (2, D) float32: the lowest and the highest value of each dimension of the (n, D) `vectors`."""
    return np.stack([vectors.min(0), vectors.max(0)]).astype(np.float32)


def to_int8(vectors: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    """Return (n, D) int8 codes of float32 vectors; values out of the (2, D) `ranges` become their ends."""
    codes = np.clip(np.floor((vectors - ranges[0]) / _steps(ranges)), 0, LEVELS)
    return (codes - 128).astype(np.int8)


def from_int8(codes: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    """Return (n, D) float32 vectors, each value in the middle of those that have its code."""
    return ranges[0] + (codes.astype(np.float32) + 128.5) * _steps(ranges)


def _steps(ranges: np.ndarray) -> np.ndarray:
    steps = (ranges[1] - ranges[0]) / LEVELS
    return np.where(steps == 0, np.float32(1), steps)


def signs(vectors: np.ndarray) -> np.ndarray:
    """Return (n, D) float32, 1 for values above 0 and -1 for others: what is left of vectors of one bit a dimension.

    The inner product of two of them is D less twice their Hamming distance.
    """
    return np.where(vectors > 0, np.float32(1), np.float32(-1))
