"""Attention over packed texts: no padding, no mask; each token attends only to its own text.

Legend: T tokens of all texts in a micro-batch, H heads, E dimensions per head, L tokens of one text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

from gte_ray.model.transfer import to_device

PACKED = "gte_ray_packed"
"""Name that registers `packed_attention` with transformers. It has no mask function, so no mask is built."""


@dataclass(frozen=True)
class PackedLayout:
    """Positions of the texts in a packed micro-batch."""

    groups: tuple[tuple[int, int], ...]
    """(texts, tokens per text) for each run of adjacent texts of equal length."""
    boundaries: Tensor
    """(n + 1,) int32 on the device: text i spans tokens boundaries[i] to boundaries[i + 1]."""
    longest: int
    """Tokens in the longest text."""


class Reach(NamedTuple):
    """Which tokens of its text a token attends to."""

    causal: bool
    """Whether only to itself and earlier ones."""
    window: int | None
    """Only to those that are fewer than so many tokens away; None for any distance."""

    def mask(self, length: int, device: torch.device) -> Tensor | None:
        """Return (L, L) bool for a text of `length` tokens, true where attended; None if the window reaches all."""
        if self.window is None or length <= self.window:
            return None
        position_L = torch.arange(length, device=device)
        back_LL = position_L[:, None] - position_L[None]
        return (back_LL.abs() < self.window) & ((back_LL >= 0) | (not self.causal))


def packed_layout(lengths: np.ndarray, device: torch.device) -> PackedLayout:
    """Return the layout of texts with these `lengths`; adjacent texts of equal length form one group."""
    groups = tuple((len(list(run)), length) for length, run in groupby(lengths.tolist()))
    boundaries = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return PackedLayout(groups, to_device(boundaries, device), int(lengths.max()))


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    softcap: float | None = None,
    position_bias: Tensor | None = None,
    layout: PackedLayout,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend within each text; query, key and value are (1, H, T, E). Returns (1, T, H, E) for transformers.

    On a GPU, torch's variable-length kernel; it supports neither float32 nor dropout, for which the encoder pads
    texts instead. On a CPU, adjacent texts of equal length go through scaled_dot_product_attention together.
    ValueError for what neither has: capped logits and biases by position.
    """
    if softcap is not None or position_bias is not None:
        raise ValueError("capped logits and biases by position are for padded texts")
    q_THE, k_THE, v_THE = (x[0].transpose(0, 1) for x in (query, key, value))
    causal = getattr(module, "is_causal", False) if is_causal is None else is_causal
    reach = Reach(bool(causal), sliding_window)
    if query.is_cuda:
        boundaries, longest = layout.boundaries, layout.longest
        far = -1 if reach.window is None else reach.window - 1  # the kernel counts the tokens on each side
        attended = varlen_attn(
            q_THE, k_THE, v_THE, boundaries, boundaries, longest, longest,
            scale=scaling, window_size=(far, 0 if reach.causal else far), enable_gqa=_is_grouped(q_THE, k_THE),
        )  # fmt: skip
        assert isinstance(attended, Tensor)  # a tuple only if auxiliary outputs are requested
        return attended[None], None
    # On CPUs, torch's attention is slower in bf16 than in float32, above all its backward pass.
    states = tuple(x.float() if x.element_size() < 4 else x for x in (q_THE, k_THE, v_THE))
    attended = _by_length(states, layout.groups, reach, dropout, scaling)
    return attended.to(query.dtype)[None], None


def _by_length(
    states: Sequence[Tensor],
    groups: Sequence[tuple[int, int]],
    reach: Reach,
    dropout: float,
    scaling: float | None,
) -> Tensor:
    # One split, not a slice per group: the backward pass of each slice would fill a tensor of all T tokens.
    pieces = zip(*(x.split([n * length for n, length in groups]) for x in states), strict=True)
    grouped = _is_grouped(states[0], states[1])
    outputs = []
    for (texts, length), piece in zip(groups, pieces, strict=True):
        q, k, v = (x.unflatten(0, (texts, length)).transpose(1, 2) for x in piece)
        mask = reach.mask(length, q.device)
        causal = reach.causal and mask is None
        attended = F.scaled_dot_product_attention(
            q, k, v, mask, dropout_p=dropout, is_causal=causal, scale=scaling, enable_gqa=grouped
        )
        outputs.append(attended.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs)


def _is_grouped(q_THE: Tensor, k_THE: Tensor) -> bool:
    """Whether several query heads share one key and value head."""
    return q_THE.shape[1] != k_THE.shape[1]


AttentionInterface.register(PACKED, packed_attention)
