"""Load and inspect a transformers backbone.

transformers would silently replace missing weights with random ones, so all weights must be present and fit.
"""

import inspect
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    AutoConfig,
    BertConfig,
    BertModel,
)
from transformers.utils import logging as transformers_logging

from gte_ray.config import ModelConfig
from gte_ray.errors import RunError
from gte_ray.model.abilities import BACKBONES, abilities
from gte_ray.model.dropout import Dropout, set_dropout
from gte_ray.pretrained.files import PICKLED_WEIGHTS, SAFE_WEIGHTS

POSITIONS = 512
"""Positions of a randomly initialised backbone, as in BERT; more if texts are longer."""
POINTER = b"version https://git-lfs"


def scratch(config: ModelConfig, vocab_size: int, pad_id: int, max_length: int, seed: int) -> Any:
    """Return a BERT of the sizes in `config`; `seed` alone determines its random weights."""
    shape = BertConfig(
        vocab_size=vocab_size,
        hidden_size=config.hidden_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.intermediate_size,
        hidden_dropout_prob=config.hidden_dropout,
        attention_probs_dropout_prob=config.attention_dropout,
        max_position_embeddings=max(POSITIONS, max_length),
        pad_token_id=pad_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return BertModel(shape, add_pooling_layer=False)


def load_backbone(folder: Path, name: str, dropout: Dropout | None = None) -> Any:
    """Load the backbone in `folder` in float32 on the CPU; error messages call it `name`.

    Weights are safetensors, or torch's own files if there are none: `torch.load` with `weights_only=True`
    reads only tensors from those and runs no code. If `dropout` is None, it stays as the config has it.
    Raises RunError with a one-sentence message.
    """
    shape = _shape(folder, name)
    model_class = _class_of(shape, name)
    if dropout is not None:
        set_dropout(shape, name, dropout)
    pooler = "add_pooling_layer" in inspect.signature(model_class).parameters
    unused = ("pooler.",)
    return _load(model_class, shape, folder, name, unused, **({"add_pooling_layer": False} if pooler else {}))


def load_classifier(folder: Path, name: str) -> Any:
    """Load a model that gives numbers for a text or a pair of texts, with its head, as `load_backbone` does."""
    shape = _shape(folder, name)
    if type(shape) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise RunError(f"{name}: {shape.model_type} has no classifier of texts in transformers")
    return _load(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(shape)], shape, folder, name)


def _shape(folder: Path, name: str) -> Any:
    """Return the config of a model whose weights are there."""
    for file in sorted([*folder.glob(SAFE_WEIGHTS), *folder.glob(PICKLED_WEIGHTS)]):
        with file.open("rb") as start:
            if start.read(len(POINTER)) == POINTER:
                raise RunError(
                    f"{name}: {file.name} is a pointer of Git LFS; `git lfs pull` gets the weights"
                )
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # files from newer releases, or truncated
        raise _not_loaded(name, error) from error


def _load(
    model_class: Any, shape: Any, folder: Path, name: str, unused: tuple[str, ...] = (), **settings: Any
) -> Any:
    """Load all weights but those whose names begin with `unused`."""
    try:
        # The seed fixes the pooler of classes that require one: it is unused, but equal on all workers.
        with _quiet_transformers(), torch.random.fork_rng():
            torch.manual_seed(0)
            model, loading_info = model_class.from_pretrained(
                folder,
                config=shape,
                dtype=torch.float32,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # _check_weights reports them
                **settings,
            )
    except Exception as error:  # any error of torch, safetensors or pickle on a truncated file
        raise _not_loaded(name, error) from error
    _check_weights(model, loading_info, name, unused)
    return model


def empty_backbone(folder: Path, name: str) -> Any:
    """Return the backbone in `folder` without weights. Raises RunError if it is none."""
    shape = _shape(folder, name)
    model_class = _class_of(shape, name)
    with torch.device("meta"):
        return model_class(shape)


def token_table(backbone: Any, name: str) -> Any:
    """Return the (V, E) embeddings of tokens. Raises RunError for a backbone that has none, as of sounds or images."""
    try:
        return backbone.get_input_embeddings().weight
    # What transformers raises where a class has no such table, and Python where its table has no weight.
    except (NotImplementedError, AttributeError) as error:
        raise RunError(f"{name}: {backbone.config.model_type} has no table of tokens") from error


def positions(backbone: Any) -> int | None:
    """Return the most tokens a text may have, special tokens included; None if there is no limit."""
    limit = getattr(backbone.config, "max_position_embeddings", None)
    if limit is None or limit < 1:
        return None
    # In the RoBERTa family, positions start after the padding id.
    offsets = [module.padding_idx + 1 for module in _position_tables(backbone) if _counts_padding(module)]
    return limit - max(offsets, default=0)


def counts_from_the_left(backbone: Any) -> bool:
    """Whether left padding would shift a text's positions: true for learned positions that start at 0."""
    return any(not _counts_padding(module) for module in _position_tables(backbone))


def _position_tables(backbone: Any) -> list[Any]:
    """Modules with a learned position embedding."""
    names = ("position_embeddings", "wpe")
    return [
        module
        for module in backbone.modules()
        if any(isinstance(getattr(module, name, None), nn.Embedding) for name in names)
    ]


def _counts_padding(module: Any) -> bool:
    return isinstance(getattr(module, "padding_idx", None), int)


def attention(backbone: Any) -> str:
    """Return transformers' name of the attention implementation for padded texts."""
    return "sdpa" if backbone._supports_sdpa else "eager"


def _class_of(shape: Any, name: str) -> Any:
    model_class: Any = abilities(shape.model_type).encoder
    if model_class is None:
        if shape.is_encoder_decoder or type(shape) not in MODEL_MAPPING:
            raise RunError(
                f"{name}: {shape.model_type} is no text encoder; allowed are encoders, decoders alone, "
                f"and of encoder-decoders {', '.join(name for name, kind in BACKBONES.items() if kind.encoder)}"
            )
        model_class = MODEL_MAPPING[type(shape)]
    parameters = inspect.signature(model_class.forward).parameters
    if "input_ids" not in parameters:
        raise RunError(f"{name}: {shape.model_type} does not take the tokens of texts")
    if "attention_mask" not in parameters:
        raise RunError(
            f"{name}: {shape.model_type} has no attention mask, so that a text's vector would depend on the "
            "padding beside it; allowed are backbones that have one"
        )
    if hasattr(shape, "use_cache"):
        shape.use_cache = False
    return model_class


def _check_weights(backbone: Any, loading_info: dict[str, Any], name: str, unused: tuple[str, ...]) -> None:
    """Raise RunError if weights are missing, do not fit, or belong to layers that the config leaves out."""
    expected = backbone.state_dict()
    for key, in_file, in_model in sorted(loading_info["mismatched_keys"]):
        raise RunError(
            f"{name}: {key} is of shape {list(in_file)} in the weights and {list(in_model)} by config.json: "
            "the two are not of one model"
        )
    missing = sorted(key for key in loading_info["missing_keys"] if not key.startswith(unused))
    if missing:
        raise RunError(
            f"{name}: its weights lack {len(missing)} of the {len(expected)} tensors of {type(backbone).__name__}, "
            f"such as {missing[0]}: they are not whole, or of another model than config.json"
        )
    patterns = {_numbers_out(key) for key in expected}
    prefix = f"{backbone.base_model_prefix}."
    unexpected = loading_info["unexpected_keys"]
    surplus = [key for key in unexpected if _numbers_out(key.removeprefix(prefix)) in patterns]
    if surplus:
        raise RunError(
            f"{name}: its weights have {len(surplus)} tensors of layers that config.json leaves out, such as "
            f"{min(surplus)}: the two are not of one model"
        )


def _numbers_out(key: str) -> str:
    return re.sub(r"\.\d+\.", ".N.", key)


def _not_loaded(name: str, error: Exception) -> RunError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, pickle.UnpicklingError):
        if "unsupported global" in str(error).lower():
            return RunError(
                f"{name}: its weights are a pickle of more than tensors, which could run code and is not loaded; "
                "allowed are safetensors, or a pickle of tensors alone"
            )
        reason = "it is no pickle of tensors"
    if isinstance(error, pickle.UnpicklingError | SafetensorError | EOFError | RuntimeError):
        return RunError(
            f"{name}: its weights cannot be read, the file is not whole or of another kind ({reason})"
        )
    return RunError(f"{name}: the model cannot be loaded ({reason})")


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Hide progress bars and the list of unused weights, such as the head of a masked language model."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
