"""Texts to embeddings: a transformers backbone, pooling over real tokens, L2 normalisation (eqs. 1, 2, 7).

Models from elsewhere may have linear layers between pooling and normalisation.

Legend: n texts, L tokens of the longest text, T tokens of all texts, D dimensions.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gte_ray.config import Pooling
from gte_ray.data.batch import TokenLists
from gte_ray.model.abilities import abilities
from gte_ray.model.attention import PACKED, packed_layout
from gte_ray.model.backbone import attention
from gte_ray.model.dense import Dense, truncation
from gte_ray.model.dropout import attention_dropout
from gte_ray.model.microbatch import MicroBatch, micro_batches
from gte_ray.model.pooling import pool_packed, pool_padded
from gte_ray.model.transfer import to_device

CPU = torch.device("cpu")


class Encoder(nn.Module):
    """Maps micro-batches to unit vectors.

    Third-party models may skip normalisation when they are scored. In training, vectors always have length 1,
    which changes no cosine.
    """

    def __init__(
        self,
        backbone: Any,
        pad_id: int,
        packed: bool,
        pooling: Pooling = "mean",
        dense: Iterable[Dense] = (),
    ):
        super().__init__()
        self.backbone: Any = backbone
        self.dense: Any = nn.ModuleList(dense)  # Any: of its `Dense`s
        self.pad_id = pad_id
        self.abilities = abilities(backbone.config.model_type)
        self.pooling: Pooling = pooling
        self.normalize = True
        self.use_packing(packed)

    def choose_attention(self, device: torch.device, half: bool) -> None:
        """Pack or pad texts, as serves best on `device` in the present mode, training or evaluation.

        On a GPU, the variable-length kernel takes half precision only (`half`) and no dropout. Without it texts are
        padded there, since one call for each length would wait for launches.
        """
        drops = self.training and attention_dropout(self.backbone.config) > 0
        self.use_packing(self.abilities.packed and (device.type != "cuda" or (half and not drops)))

    def never_pack(self) -> None:
        """Pad texts on all devices."""
        self.abilities = replace(self.abilities, packed=False)
        self.use_packing(False)

    def use_packing(self, packed: bool) -> None:
        """Pack texts, or pad them."""
        self.packed = packed
        """Whether texts are concatenated without padding; otherwise they are padded on the right."""
        self.backbone.set_attn_implementation(PACKED if packed else attention(self.backbone))

    @property
    def dimensions(self) -> int:
        """D."""
        widths = [layer.out_features for layer in self.dense]
        return widths[-1] if widths else self.backbone.config.hidden_size

    def truncate(self, dimensions: int) -> None:
        """Keep the first `dimensions` of each vector alone. ValueError for more than there are."""
        if dimensions > self.dimensions:
            raise ValueError(f"{dimensions} of {self.dimensions} dimensions")
        if dimensions < self.dimensions:
            self.dense.append(truncation(self.dimensions, dimensions).to(self.device))

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(self, batch: MicroBatch) -> Tensor:
        """Return (n, D) float32 in the order of `batch`, for any precision of the backbone.

        Rows have length 1 if `normalize` is set.
        """
        vectors_nD = self._pool_packed(batch) if self.packed else self._pool_padded(batch)
        for layer in self.dense:
            vectors_nD = layer(vectors_nD)
        return F.normalize(vectors_nD, dim=-1) if self.normalize else vectors_nD

    def states(self, batch: MicroBatch) -> Tensor:
        """Return (T, width of the backbone) float32 states of all tokens, for an encoder that packs texts."""
        layout = packed_layout(batch.lengths, self.device)
        starts = np.cumsum(batch.lengths) - batch.lengths
        first = self.pad_id + 1 if self.abilities.after_padding_id else 0
        positions_T = first + np.arange(batch.tokens) - np.repeat(starts, batch.lengths)
        states = self.backbone(
            input_ids=self._tensor(batch.values)[None],
            position_ids=self._tensor(positions_T)[None],
            layout=layout,
        )
        return states.last_hidden_state[0].float()

    def _pool_packed(self, batch: MicroBatch) -> Tensor:
        return pool_packed(self.states(batch), batch.lengths, self.pooling, batch.skipped)

    def _pool_padded(self, batch: MicroBatch) -> Tensor:
        real_nL = np.arange(batch.lengths[0]) < batch.lengths[:, None]
        ids_nL = np.full(real_nL.shape, self.pad_id, np.int64)
        ids_nL[real_nL] = batch.values
        states = self.backbone(input_ids=self._tensor(ids_nL), attention_mask=self._tensor(real_nL))
        return pool_padded(states.last_hidden_state.float(), batch.lengths, self.pooling, batch.skipped)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return to_device(array.astype(np.int64), self.device)

    def micro_batches(self, tokens: TokenLists, budget_tokens: int) -> list[MicroBatch]:
        """Split `tokens` into micro-batches for this encoder."""
        return micro_batches(tokens, budget_tokens, self.packed)

    def computed_tokens(self, batch: MicroBatch) -> int:
        """Return the tokens that pass through the backbone, padding included."""
        return batch.tokens if self.packed else batch.padded_tokens

    @torch.no_grad()
    def encode(self, tokens: TokenLists, budget_tokens: int, to: torch.device = CPU) -> Tensor:
        """Return (n, D) float32 on the device `to` in the order of `tokens`, computed without gradient or dropout."""
        was_training = self.training
        self.eval()
        try:
            embeddings_nD = torch.empty(len(tokens), self.dimensions, device=to)
            for batch in self.micro_batches(tokens, budget_tokens):
                embeddings_nD[to_device(batch.rows, to)] = self(batch).to(to)
            return embeddings_nD
        finally:
            self.train(was_training)
