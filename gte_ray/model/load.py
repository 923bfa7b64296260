"""Any embedding model as texts in, vectors out: our folders, sentence-transformers', a bare transformers encoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gte_ray.config import ModelConfig, Pooling
from gte_ray.data.tokenize import TextTokenizer, load_tokenizer
from gte_ray.errors import RunError
from gte_ray.model.abilities import abilities
from gte_ray.model.backbone import counts_from_the_left, load_backbone, positions, scratch
from gte_ray.model.encoder import Encoder
from gte_ray.pretrained.files import model_folder
from gte_ray.pretrained.prompts import Prompts
from gte_ray.pretrained.settings import Settings, read_settings
from gte_ray.runtime import storage

NO_LENGTH = 1_000_000
"""Tokens from which a tokenizer's longest text means that it names none."""
PROBES = ["a", "a b c d e f g h"]
"""Texts of unlike lengths."""
MANY_TOKENS = 4_096
"""More than both have together, or any prompt."""
PADDING_TOLERANCE = 1e-4
"""Largest change of a unit vector's component by padding, far above float32's rounding."""
UNNAMED_LENGTH = 512
"""Longest text in tokens of a model that names none, nor has positions that end."""


@dataclass(frozen=True)
class TextModel:
    """An embedding model in evaluation mode."""

    name: str
    encoder: Encoder
    tokenizer: TextTokenizer
    max_length: int
    """Tokens of a text, prompt and special tokens included; the rest is cut off."""
    notes: tuple[str, ...] = ()
    """What a user may not expect, a sentence each."""

    @property
    def prompts(self) -> Prompts:
        return self.tokenizer.prompts

    def embed(self, texts: Sequence[str], budget_tokens: int, prompt: str | None = None) -> np.ndarray:
        """(n, D) float32 in the order of `texts`, each with `prompt` in front, in micro-batches of the budget.

        None is the model's default prompt, as in sentence-transformers' `encode`; vectors have length 1 where
        the model makes them so.
        """
        prompt = self.prompts.default if prompt is None else prompt
        return self.encoder.encode(
            self.tokenizer.encode(texts, self.max_length, prompt), budget_tokens
        ).numpy()

    def queries(self, texts: Sequence[str], budget_tokens: int) -> np.ndarray:
        """(n, D) float32 of length 1: the texts as queries, with their prompt."""
        return _unit(self.embed(texts, budget_tokens, self.prompts.query))

    def documents(self, texts: Sequence[str], budget_tokens: int) -> np.ndarray:
        """(n, D) float32 of length 1: the texts as documents, with their prompt."""
        return _unit(self.embed(texts, budget_tokens, self.prompts.document))


def load_model(name: str, device: str = "cpu", half: bool = False) -> TextModel:
    """The model of a folder, a folder at a URI, or a Hugging Face id; RunError in one sentence where it fails.

    `half` computes in fp16. A model whose folder says something that is not followed is refused by its name.
    """
    with model_folder(name) as folder:
        settings = read_settings(folder, name)
        tokenizer = load_tokenizer(name)
        backbone = load_backbone(folder / settings.transformer, name)
        max_length, notes = _longest(folder / settings.transformer, settings, backbone, name)
    if counts_from_the_left(backbone) and tokenizer.pads_left:
        notes += (
            f"{name}: pads texts on the left, which changes their vectors; here each is that of a text alone",
        )
    check_fit(name, backbone, tokenizer.largest_id + 1, max_length)
    encoder = wrap(backbone, tokenizer.pad_id, settings.pooling)
    encoder.normalize = settings.normalize
    _check_texts(encoder, tokenizer, max_length, name)
    encoder = encoder.to(device, torch.float16 if half else None).eval()
    return TextModel(name, encoder, tokenizer, max_length, (*settings.notes, *notes))


def build_encoder(config: ModelConfig, vocab_size: int, pad_id: int, max_length: int, seed: int) -> Encoder:
    """The encoder in float32 on the CPU; `seed` alone decides on random weights.

    It pools as `config` says, and as the base model's folder where that says `base`. Raises RunError when the
    base model cannot be loaded or followed, or does not fit the tokenizer or the length.
    """
    pooling: Pooling = "mean"
    if config.base == "scratch":
        backbone = scratch(config, vocab_size, pad_id, max_length, seed)
    else:
        with model_folder(config.base) as folder:
            settings = read_settings(folder, config.base)
            backbone = load_backbone(folder / settings.transformer, config.base, config.dropout)
        check_fit(config.base, backbone, vocab_size, max_length)
        pooling = settings.pooling
    return wrap(backbone, pad_id, pooling if config.pooling == "base" else config.pooling)


def wrap(backbone: Any, pad_id: int, pooling: Pooling) -> Encoder:
    """The encoder around a backbone, packed where that backbone can be."""
    return Encoder(backbone, pad_id, abilities(backbone.config.model_type).packed, pooling)


def check_fit(name: str, backbone: Any, vocab_size: int, max_length: int) -> None:
    """RunError where texts of `max_length` tokens, or ids below `vocab_size`, are too much for `backbone`."""
    most = positions(backbone)
    if most is not None and max_length > most:
        raise RunError(f"max_length is {max_length}, but the model {name!r} has {most} positions for tokens")
    try:
        known = len(backbone.get_input_embeddings().weight)
    except NotImplementedError as error:  # transformers' answer for a backbone that takes no token ids
        raise RunError(f"{name}: {backbone.config.model_type} has no table of tokens") from error
    if vocab_size > known:
        raise RunError(
            f"the tokenizer has {vocab_size} entries, but the model {name!r} knows {known}: "
            "it is not the tokenizer of that model"
        )


def check_model(name: str) -> tuple[str, ...]:
    """Loads the model once and gives its notes, so that what is wrong with it is told before any work.

    All of its weights are read: nothing less shows that they are whole.
    """
    return load_model(name).notes


def check_base(config: ModelConfig, max_length: int) -> None:
    """RunError where training cannot start from the base model with texts of up to `max_length` tokens.

    All of its weights are read, as by `check_model`.
    """
    with model_folder(config.base, weights=False):  # for what is said where there is none
        tokenizer = load_tokenizer(config.base)
    encoder = build_encoder(config, tokenizer.largest_id + 1, tokenizer.pad_id, max_length, seed=0)
    _check_texts(encoder.eval(), tokenizer, max_length, config.base)
    if encoder.pooling == "last" and not tokenizer.suffix:
        raise RunError(
            f"{config.base}: its tokenizer puts no special token at the end of a text, so that pooling by the last "
            "token would take any word of it; allowed are --pooling mean and cls"
        )


def _check_texts(encoder: Encoder, tokenizer: TextTokenizer, max_length: int, name: str) -> None:
    """RunError where texts of `max_length` tokens would have no room, or vectors would depend on their neighbours."""
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
            _unit(encoder.encode(tokenizer.encode(texts, max_length), MANY_TOKENS).numpy())[0]
            for texts in (PROBES[:1], PROBES)
        )
    except Exception as error:  # whatever a backbone makes of a config that does not go with it
        reason = " ".join(str(error).split())[:200]
        raise RunError(
            f"{name}: the model fails on a short text ({type(error).__name__}: {reason})"
        ) from error
    difference = np.abs(alone - beside).max()
    if not np.isfinite(difference):
        raise RunError(f"{name}: the vector of a short text is not finite")
    if difference > PADDING_TOLERANCE:
        kind = encoder.backbone.config.model_type
        raise RunError(
            f"{name}: a text's vector depends on the padding beside it ({kind} changes it by {difference:.2g}); "
            "allowed are backbones whose attention mask hides padding wholly"
        )


def _longest(folder: Path, settings: Settings, backbone: object, name: str) -> tuple[int, tuple[str, ...]]:
    """Tokens of the longest text, and what is to be said of that.

    What the settings say, or the shorter of what the tokenizer and the positions of the backbone allow.
    """
    if settings.max_length is not None:
        return settings.max_length, ()
    path = folder / "tokenizer_config.json"
    config = storage.read_json(str(path)) if path.is_file() else {}
    named = config.get("model_max_length") or NO_LENGTH
    longest = int(min(positions(backbone) or NO_LENGTH, named))
    if longest < NO_LENGTH:
        return longest, ()
    return UNNAMED_LENGTH, (f"{name}: names no longest text, so texts are cut at {UNNAMED_LENGTH} tokens",)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
