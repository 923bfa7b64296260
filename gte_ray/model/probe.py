"""Short texts through an encoder: whether its vectors are what they should be."""

import numpy as np

from gte_ray.data.batch import TokenLists
from gte_ray.data.tokenize import TextTokenizer
from gte_ray.errors import RunError
from gte_ray.model.encoder import Encoder

PROBES = ["a", "a b c d e f g h"]
"""Texts of different lengths."""
MANY_TOKENS = 4_096
"""More tokens than both probes together, or any prompt, have."""
PADDING_TOLERANCE = 1e-4
"""Largest allowed change of a unit vector's component due to padding, far above float32 rounding."""


def same_when_packed(encoder: Encoder) -> bool:
    """Whether three short texts have the same vectors packed and padded; the encoder packs afterwards."""
    random, lengths = np.random.default_rng(0), np.array([20, 3, 1])
    ids = random.integers(0, len(encoder.backbone.get_input_embeddings().weight) - 1, lengths.sum())
    ids += ids >= encoder.pad_id  # any but that one
    tokens = TokenLists(ids.astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]))
    found = []
    for packed in (True, False):
        encoder.use_packing(packed)
        try:
            found.append(unit(encoder.encode(tokens, MANY_TOKENS).numpy()))
        except Exception:  # any error of a backbone that is not made for it
            return False
    encoder.use_packing(True)
    return bool(np.abs(found[0] - found[1]).max() <= PADDING_TOLERANCE)


def check_texts(encoder: Encoder, tokenizer: TextTokenizer, max_length: int, name: str) -> None:
    """Raise RunError if `max_length` leaves no room for a text.

    Also if a short text fails, or if its vector is not finite or depends on the padding beside it.
    """
    room = max_length - len(tokenizer.prefix) - len(tokenizer.suffix)
    for prompt in ("", tokenizer.prompts.query, tokenizer.prompts.document):
        taken = int(tokenizer.content_ids([prompt], MANY_TOKENS).lengths[0])
        if taken >= room:
            what = f"its prompt {prompt!r}" if prompt else "special tokens"
            raise RunError(
                f"{name}: max_length is {max_length}, and {what} would leave no token of it to a text"
            )
    try:
        alone, beside = (
            unit(encoder.encode(tokenizer.encode(texts, max_length), MANY_TOKENS).numpy())[0]
            for texts in (PROBES[:1], PROBES)
        )
    except Exception as error:  # any error of a backbone whose config does not fit it
        reason = " ".join(str(error).split())[:200]
        raise RunError(
            f"{name}: the model fails on a short text ({type(error).__name__}: {reason})"
        ) from error
    difference = np.abs(alone - beside).max()
    if not np.isfinite(difference):
        raise RunError(f"{name}: the vector of a short text is not finite")
    if difference > PADDING_TOLERANCE:
        model_type = encoder.backbone.config.model_type
        raise RunError(
            f"{name}: a text's vector depends on the padding beside it ({model_type} changes it by {difference:.2g}); "
            "allowed are backbones whose attention mask hides padding wholly"
        )


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return (n, D) vectors with length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
