"""64-bit hashes: of texts, to find equal ones, and of pairs, to shuffle and split."""

import hashlib
import json
from hashlib import blake2b

import numpy as np
import pyarrow as pa


def text_hashes(texts: pa.Array) -> np.ndarray:
    """(n,) uint64: BLAKE2b hash of each text's UTF-8 bytes."""
    digests = b"".join(blake2b(memoryview(text.as_buffer()), digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def number_texts(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers the distinct texts in order of first appearance.

    Returns the row where each distinct text first appears, ascending, and the (n,) number of each row's text.
    """
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    return first[order], number[inverse]


def pair_hashes(query_hashes: np.ndarray, document_hashes: np.ndarray, seed: int) -> np.ndarray:
    """(n,) uint64: seeded hash of each pair. Its ascending order is the global shuffle."""
    mixed = seeded(query_hashes, seed) ^ np.uint64(0x9E3779B97F4A7C15)
    return _mix(mixed + _mix(document_hashes))


def seeded(hashes: np.ndarray, seed: int) -> np.ndarray:
    """(n,) uint64: another hash of each text, independent for each seed."""
    return _mix(hashes ^ _mix(np.array([seed], dtype=np.uint64) + np.uint64(0xD1B54A32D192ED03)))


def _mix(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): a bijection that spreads each bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def digest(*values: object) -> str:
    """16 hex digits of the SHA-256 hash of JSON-serialisable values."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]
