"""Texts as what two of them have in common: runs of consecutive words, without case, punctuation and spaces."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gte_ray.data.hashing import text_hashes

FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Odd, so that no bit of a word's hash is lost."""


def normalised(texts: pa.Array) -> pa.Array:
    """Letters and digits of each text, in lower case, with single spaces between words."""
    folded = pc.utf8_lower(pc.utf8_normalize(texts, form="NFKC"))
    spaced = pc.replace_substring_regex(folded, pattern=r"[^\pL\pN]+", replacement=" ")
    return pc.utf8_trim(spaced, characters=" ")


def word_runs(texts: pa.Array, words: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three (r,) arrays of all runs of `words` words in normalised texts, text after text.

    The hash of each (uint64), the text that it is of, and the number there of its first word.
    """
    lists = pc.split_pattern(texts, pattern=" ")
    offsets = lists.offsets.to_numpy()
    encoded = lists.values.slice(offsets[0], offsets[-1] - offsets[0]).dictionary_encode()
    hashes = text_hashes(encoded.dictionary)[encoded.indices.to_numpy(zero_copy_only=False)]
    counts = np.diff(offsets)
    runs = np.zeros(max(len(hashes) - words + 1, 0), np.uint64)
    for number in range(words):
        runs = runs * FACTOR + hashes[number : number + len(runs)]
    owners = np.repeat(np.arange(len(counts)), counts)
    positions = np.arange(len(hashes)) - np.repeat(offsets[:-1] - offsets[0], counts)
    inside = positions[: len(runs)] + words <= counts[owners[: len(runs)]]
    return runs[inside], owners[: len(runs)][inside], positions[: len(runs)][inside]
