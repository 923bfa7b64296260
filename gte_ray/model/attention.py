"""Attention over packed texts: no padding, no mask, every token sees its own text alone.

Legend: T tokens of all texts of a micro-batch, H heads, E dimensions of a head, L tokens of one text.
"""

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

PACKED = "gte_ray_packed"
"""Name under which transformers finds `packed_attention`. No mask is registered for it, so none is made."""


@dataclass(frozen=True)
class PackedLayout:
    """Where each text lies in a packed micro-batch."""

    groups: tuple[tuple[int, int], ...]
    """(texts, tokens of each) for every run of neighbours of equal length."""
    boundaries: Tensor
    """(n + 1,) int32 on the device: text i is tokens boundaries[i] to boundaries[i + 1]."""
    longest: int
    """Tokens of the longest text."""
    causal: bool
    """Whether a token sees only itself and what is before it in its text."""


def packed_layout(lengths: np.ndarray, device: torch.device, causal: bool = False) -> PackedLayout:
    """The layout of texts of these `lengths`, in this order; neighbours of equal length run together."""
    groups = tuple((len(list(run)), length) for length, run in groupby(lengths.tolist()))
    boundaries = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return PackedLayout(groups, torch.from_numpy(boundaries).to(device), int(lengths.max()), causal)


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    layout: PackedLayout,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of (1, H, T, E) query, key and value; returns (1, T, H, E) as transformers expects it.

    torch's variable-length kernel knows neither float32 nor dropout nor a CPU; elsewhere texts of equal
    length, which are neighbours, go through scaled_dot_product_attention together.
    """
    q_THE, k_THE, v_THE = (x[0].transpose(0, 1) for x in (query, key, value))
    if query.is_cuda and dropout == 0 and query.dtype in (torch.float16, torch.bfloat16):
        n, longest = layout.boundaries, layout.longest
        attended = varlen_attn(
            q_THE, k_THE, v_THE, n, n, longest, longest,
            scale=scaling, window_size=(-1, 0) if layout.causal else (-1, -1), enable_gqa=_is_grouped(q_THE, k_THE),
        )  # fmt: skip
        assert isinstance(attended, Tensor)  # it gives more when more is asked for
        return attended[None], None
    return _by_length(q_THE, k_THE, v_THE, layout, dropout, scaling)[None], None


def _by_length(
    q_THE: Tensor, k_THE: Tensor, v_THE: Tensor, layout: PackedLayout, dropout: float, scaling: float | None
) -> Tensor:
    # One split, not a slice for each group: the backward pass of a slice fills a tensor of all T tokens.
    pieces = zip(
        *(x.split([n * length for n, length in layout.groups]) for x in (q_THE, k_THE, v_THE)), strict=True
    )
    grouped = _is_grouped(q_THE, k_THE)
    outputs = []
    for (texts, length), piece in zip(layout.groups, pieces, strict=True):
        q, k, v = (x.unflatten(0, (texts, length)).transpose(1, 2) for x in piece)
        attended = F.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, is_causal=layout.causal, scale=scaling, enable_gqa=grouped
        )
        outputs.append(attended.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs)


def _is_grouped(q_THE: Tensor, k_THE: Tensor) -> bool:
    """Whether several heads of queries share one of keys and values."""
    return q_THE.shape[1] != k_THE.shape[1]


AttentionInterface.register(PACKED, packed_attention)
