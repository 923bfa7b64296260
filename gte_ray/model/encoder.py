"""Texts to embeddings: a transformers backbone, mean pooling over real tokens, L2 norm (eqs. 1, 2, 7).

Legend: n texts, L tokens of a text, T tokens of all texts, D dimensions.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, BertConfig, BertModel
from transformers.utils import logging as transformers_logging

from gte_ray import storage
from gte_ray.config import ModelConfig
from gte_ray.data.batch import TokenLists
from gte_ray.errors import RunError
from gte_ray.model.attention import PACKED, packed_layout
from gte_ray.model.microbatch import MicroBatch, micro_batches

PACKABLE = ("bert",)
"""Backbones whose positions enter through `position_ids` alone and count from 0, so that texts can be packed.

RoBERTa counts from its padding id, MPNet adds relative positions inside the attention: these are padded.
"""
POSITIONS = 512
"""Positions of a backbone from random weights, as of BERT; more where texts are longer."""


Pooling = Literal["mean", "cls"]


class Encoder(nn.Module):
    """Micro-batches in, unit vectors out.

    Models from elsewhere may take the first token's state instead of the mean, or leave out the norm.
    """

    def __init__(self, backbone: Any, pad_id: int, packed: bool):
        super().__init__()
        self.backbone: Any = backbone
        self.pad_id = pad_id
        self.packed = packed
        """Whether texts lie one after another without padding; otherwise side by side, padded."""
        self.pooling: Pooling = "mean"
        self.normalize = True
        self.backbone.set_attn_implementation(PACKED if packed else "sdpa")

    @property
    def dimensions(self) -> int:
        """D."""
        return self.backbone.config.hidden_size

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(self, batch: MicroBatch) -> Tensor:
        """(n, D) float32, rows of norm 1 in the order of `batch`, whatever the backbone's precision is."""
        pooled_nD = self._pool_packed(batch) if self.packed else self._pool_padded(batch)
        return F.normalize(pooled_nD, dim=-1) if self.normalize else pooled_nD

    def _pool_packed(self, batch: MicroBatch) -> Tensor:
        layout = packed_layout(batch.lengths, self.device)
        starts = np.cumsum(batch.lengths) - batch.lengths
        positions_T = np.arange(batch.tokens) - np.repeat(starts, batch.lengths)
        states = self.backbone(
            input_ids=self._tensor(batch.values)[None],
            position_ids=self._tensor(positions_T)[None],
            layout=layout,
        )
        h_TD = states.last_hidden_state[0].float()
        if self.pooling == "cls":
            return h_TD[self._tensor(starts)]
        return torch.segment_reduce(h_TD, "mean", lengths=self._tensor(batch.lengths), axis=0)

    def _pool_padded(self, batch: MicroBatch) -> Tensor:
        real_nL = np.arange(batch.lengths[0]) < batch.lengths[:, None]
        ids_nL = np.full(real_nL.shape, self.pad_id, np.int64)
        ids_nL[real_nL] = batch.values
        mask_nL = self._tensor(real_nL)
        states = self.backbone(input_ids=self._tensor(ids_nL), attention_mask=mask_nL)
        h_nLD = states.last_hidden_state.float()
        if self.pooling == "cls":
            return h_nLD[:, 0]
        weights_nL1 = mask_nL[..., None].float()
        return (h_nLD * weights_nL1).sum(1) / weights_nL1.sum(1)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array.astype(np.int64)).to(self.device, non_blocking=True)

    def micro_batches(self, tokens: TokenLists, budget_tokens: int) -> list[MicroBatch]:
        """`tokens` cut as this encoder computes them."""
        return micro_batches(tokens, budget_tokens, self.packed)

    def computed_tokens(self, batch: MicroBatch) -> int:
        """Tokens that go through the backbone, padding included."""
        return batch.tokens if self.packed else batch.padded_tokens

    @torch.no_grad()
    def encode(self, tokens: TokenLists, budget_tokens: int) -> Tensor:
        """(n, D) float32 on the CPU, without gradient and dropout, in the order of `tokens`."""
        was_training = self.training
        self.eval()
        try:
            embeddings_nD = torch.empty(len(tokens), self.dimensions)
            for batch in self.micro_batches(tokens, budget_tokens):
                embeddings_nD[torch.from_numpy(batch.rows)] = self(batch).cpu()
            return embeddings_nD
        finally:
            self.train(was_training)


def build_encoder(config: ModelConfig, vocab_size: int, pad_id: int, max_length: int, seed: int) -> Encoder:
    """The encoder in float32 on the CPU; `seed` alone decides on random weights.

    Raises RunError when the base model cannot be loaded or does not fit the tokenizer or the length.
    """
    if config.base == "scratch":
        backbone = _scratch(config, vocab_size, pad_id, max_length, seed)
    else:
        backbone = _pretrained(config, seed)
        _check_fit(config.base, backbone.config, vocab_size, max_length)
    return Encoder(backbone, pad_id, packed=backbone.config.model_type in PACKABLE)


def _scratch(config: ModelConfig, vocab_size: int, pad_id: int, max_length: int, seed: int) -> Any:
    shape = BertConfig(
        vocab_size=vocab_size,
        hidden_size=config.hidden_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.intermediate_size,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.dropout,
        max_position_embeddings=max(POSITIONS, max_length),
        pad_token_id=pad_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return BertModel(shape, add_pooling_layer=False)


def _pretrained(config: ModelConfig, seed: int) -> Any:
    try:
        with storage.local_folder(config.base) as base:
            return _load(base, config.dropout, seed)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"base model {config.base!r} cannot be loaded: {reason}") from error


def _load(base: str, dropout: float, seed: int) -> Any:
    shape = AutoConfig.from_pretrained(base, trust_remote_code=False)
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"):
        if hasattr(shape, name):
            setattr(shape, name, dropout)
    kind: Any = MODEL_MAPPING[type(shape)]
    pooler = "add_pooling_layer" in inspect.signature(kind).parameters
    # The seed is for weights that the folder lacks, so that every worker starts from the same ones.
    with _quiet_transformers(), torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoModel.from_pretrained(
            base,
            config=shape,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            **({"add_pooling_layer": False} if pooler else {}),
        )


def _check_fit(base: str, shape: Any, vocab_size: int, max_length: int) -> None:
    positions = getattr(shape, "max_position_embeddings", max_length)
    if max_length > positions:
        raise RunError(f"max_length is {max_length}, but base model {base!r} has {positions} positions")
    if vocab_size > shape.vocab_size:
        raise RunError(
            f"the tokenizer has {vocab_size} entries, but base model {base!r} knows {shape.vocab_size}: "
            "it is not the tokenizer of that model"
        )


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Without the list of weights that are left out, such as the head of a masked language model."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
