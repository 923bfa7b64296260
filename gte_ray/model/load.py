"""Load any embedding model, to map texts to vectors: ours, sentence-transformers', or bare transformers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gte_ray.config import ModelConfig, Pooling, check_dimensions
from gte_ray.data.tokenize import TextTokenizer, load_tokenizer
from gte_ray.errors import RunError
from gte_ray.model.abilities import abilities
from gte_ray.model.backbone import (
    counts_from_the_left,
    empty_backbone,
    load_backbone,
    positions,
    scratch,
    token_table,
)
from gte_ray.model.dense import Dense, load_dense
from gte_ray.model.dropout import Dropout
from gte_ray.model.encoder import Encoder
from gte_ray.model.lora import add_adapters
from gte_ray.model.probe import check_texts, same_when_packed, unit
from gte_ray.pretrained.files import model_folder
from gte_ray.pretrained.prompts import AS_THE_MODEL, GivenPrompts, Prompts, given_to, lacking
from gte_ray.pretrained.settings import Settings, read_settings
from gte_ray.runtime import storage

NO_LENGTH = 1_000_000
"""A tokenizer whose longest text has at least this many tokens states no limit."""
UNNAMED_LENGTH = 512
"""Longest text, in tokens, for a model that states no limit and has unlimited positions."""


@dataclass(frozen=True)
class TextModel:
    """An embedding model in evaluation mode."""

    name: str
    encoder: Encoder
    tokenizer: TextTokenizer
    max_length: int
    """Most tokens of a text, prompt and special tokens included; the rest is cut off."""
    notes: tuple[str, ...] = ()
    """Behaviour that may surprise a user, one sentence each."""

    @property
    def prompts(self) -> Prompts:
        return self.tokenizer.prompts

    def embed(self, texts: Sequence[str], budget_tokens: int, prompt: str | None = None) -> np.ndarray:
        """Return (n, D) float32 in the order of `texts`, each prefixed with `prompt`.

        Micro-batches have at most `budget_tokens` tokens. If `prompt` is None, the model's
        default is used, as in sentence-transformers' `encode`. Vectors have length 1 only if the model
        normalises them.
        """
        prompt = self.prompts.default if prompt is None else prompt
        return self.encoder.encode(
            self.tokenizer.encode(texts, self.max_length, prompt), budget_tokens
        ).numpy()

    def queries(self, texts: Sequence[str], budget_tokens: int) -> np.ndarray:
        """Return (n, D) float32 of length 1: the texts embedded as queries, with the query prompt."""
        return unit(self.embed(texts, budget_tokens, self.prompts.query))

    def documents(self, texts: Sequence[str], budget_tokens: int) -> np.ndarray:
        """Return (n, D) float32 of length 1: the texts embedded as documents, with the document prompt."""
        return unit(self.embed(texts, budget_tokens, self.prompts.document))


def load_model(
    name: str,
    device: str = "cpu",
    half: bool = False,
    max_length: int = 0,
    dimensions: int = 0,
    prompts: GivenPrompts = AS_THE_MODEL,
) -> TextModel:
    """Load a model from a folder, a folder at a URI, or a Hugging Face id.

    `half` computes in fp16. Texts are cut at `max_length` tokens, or where the folder says if it is 0. Vectors have
    their first `dimensions`, or all if it is 0. Texts get `prompts` where given. Raises RunError with a one-sentence message if loading fails. A setting in the folder that is not supported is such
    a failure, and the message names it.
    """
    with model_folder(name) as folder:
        settings = read_settings(folder, name)
        tokenizer = load_tokenizer(name).with_prompts(prompts)
        backbone = load_backbone(folder / settings.transformer, name)
        dense = load_dense(folder, settings.dense, backbone.config.hidden_size, name)
        encoder = wrap(backbone, tokenizer.pad_id, settings.pooling, dense)
        longest, notes = _longest(folder / settings.transformer, settings, backbone, name)
    if counts_from_the_left(backbone) and tokenizer.pads_left:
        notes += (
            f"{name}: pads texts on the left, which changes their vectors; here each is that of a text alone",
        )
    max_length = max_length or longest
    check_fit(name, backbone, tokenizer.largest_id + 1, max_length)
    if dimensions > encoder.dimensions:
        raise RunError(
            f"{name}: has vectors of {encoder.dimensions} dimensions; allowed are as many, not {dimensions}"
        )
    encoder.truncate(dimensions or encoder.dimensions)
    encoder.normalize = settings.normalize
    check_texts(encoder, tokenizer, max_length, name)
    if abilities(backbone.config.model_type).packed and not encoder.abilities.packed:
        notes += (
            f"{name}: is padded, slower than its kind usually is, as its config.json asks for other attention",
        )
    encoder = encoder.to(device, torch.float16 if half else None).eval()
    encoder.choose_attention(torch.device(device), half)
    notes = (*settings.notes, *notes, *(() if prompts else lacking(name, tokenizer.prompts)))
    return TextModel(name, encoder, tokenizer, max_length, notes)


def build_encoder(config: ModelConfig, vocab_size: int, pad_id: int, max_length: int, seed: int) -> Encoder:
    """Build the encoder in float32 on the CPU; `seed` alone determines random weights.

    Pooling comes from `config`, or from the base model's folder if `config` has `base`. Raises RunError if
    the base model cannot be loaded, has an unsupported setting, or does not fit the tokenizer or
    `max_length`.
    """
    pooling: Pooling = "mean"
    dense: list[Dense] = []
    if config.base == "scratch":
        backbone = scratch(config, vocab_size, pad_id, max_length, seed)
    else:
        with model_folder(config.base) as folder:
            settings = read_settings(folder, config.base)
            dropout = Dropout(config.hidden_dropout, config.attention_dropout)
            backbone = load_backbone(folder / settings.transformer, config.base, dropout)
            dense = [*load_dense(folder, settings.dense, backbone.config.hidden_size, config.base)]
        if config.lora_rank:
            add_adapters(backbone, config, seed)
            for layer in dense:
                layer.requires_grad_(False)
        check_fit(config.base, backbone, vocab_size, max_length)
        pooling = settings.pooling
    return wrap(backbone, pad_id, pooling if config.pooling == "base" else config.pooling, dense)


def wrap(backbone: Any, pad_id: int, pooling: Pooling, dense: Iterable[Dense] = ()) -> Encoder:
    """Wrap a backbone in an encoder, packed if the backbone supports it.

    That is tried on three short texts too, since a config may have what its type of model usually has not.
    """
    encoder = Encoder(backbone, pad_id, abilities(backbone.config.model_type).packed, pooling, dense)
    if encoder.packed and not same_when_packed(encoder):
        encoder.never_pack()
    return encoder


def check_fit(name: str, backbone: Any, vocab_size: int, max_length: int) -> None:
    """Raise RunError if `backbone` has too few positions for `max_length`, or embeddings for `vocab_size`."""
    most = positions(backbone)
    if most is not None and max_length > most:
        raise RunError(f"max_length is {max_length}, but the model {name!r} has {most} positions for tokens")
    embedded = len(token_table(backbone, name))
    if vocab_size > embedded:
        raise RunError(
            f"the tokenizer has {vocab_size} entries, but the model {name!r} knows {embedded}: "
            "it is not the tokenizer of that model"
        )


def check_model(
    name: str,
    max_length: int = 0,
    dimensions: int = 0,
    prompts: GivenPrompts = AS_THE_MODEL,
) -> tuple[str, ...]:
    """Load the model once and return its notes, so that errors are reported before any work.

    Reads all weights: nothing less shows that they are complete.
    """
    return load_model(name, max_length=max_length, dimensions=dimensions, prompts=prompts).notes


def check_guide(name: str, max_length: int) -> None:
    """Raise RunError if the model cannot be loaded, or cannot read texts that are cut at `max_length` tokens."""
    guide = load_model(name)
    check_texts(guide.encoder, guide.tokenizer, min(guide.max_length, max_length), name)


def longest_text(name: str) -> int:
    """Return the number of tokens at which a model cuts texts, without its weights."""
    with model_folder(name, weights=False) as folder:
        settings = read_settings(folder, name)
        backbone = (
            empty_backbone(folder / settings.transformer, name) if settings.max_length is None else None
        )
        return _longest(folder / settings.transformer, settings, backbone, name)[0]


def check_base(config: ModelConfig, max_length: int, dimensions: Sequence[int] = ()) -> None:
    """Raise RunError if training cannot start from the base model with texts of up to `max_length` tokens.

    Also if it cannot have `dimensions`, the numbers of first dimensions that are trained. Reads all weights, as
    `check_model` does.
    """
    with model_folder(config.base, weights=False):  # for the error message if there is no model
        tokenizer = load_tokenizer(config.base).with_prompts(given_to(config))
    encoder = build_encoder(config, tokenizer.largest_id + 1, tokenizer.pad_id, max_length, seed=0)
    check_texts(encoder.eval(), tokenizer, max_length, config.base)
    if encoder.pooling == "last" and not tokenizer.suffix:
        raise RunError(
            f"{config.base}: its tokenizer puts no special token at the end of a text, so that pooling by the last "
            "token would take any word of it; allowed are --pooling mean and cls"
        )
    check_dimensions(dimensions, encoder.dimensions)


def _longest(folder: Path, settings: Settings, backbone: object, name: str) -> tuple[int, tuple[str, ...]]:
    """Return the number of tokens of the longest text, and notes on it.

    It comes from the settings, or is the lower limit of the tokenizer and the backbone's positions.
    """
    if settings.max_length is not None:
        return settings.max_length, ()
    path = folder / "tokenizer_config.json"
    config = storage.read_json(str(path)) if path.is_file() else {}
    tokenizer_limit = config.get("model_max_length") or NO_LENGTH
    longest = int(min(positions(backbone) or NO_LENGTH, tokenizer_limit))
    if longest < NO_LENGTH:
        return longest, ()
    return UNNAMED_LENGTH, (f"{name}: names no longest text, so texts are cut at {UNNAMED_LENGTH} tokens",)
