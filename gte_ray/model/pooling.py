"""Pool the states of tokens to one vector per text; packed and padded states give the same vectors.

Legend: n texts, L tokens of the longest text, T tokens of all texts, D dimensions.
"""

import numpy as np
import torch
from torch import Tensor

from gte_ray.config import Pooling
from gte_ray.model.transfer import to_device


def pool_packed(
    h_TD: Tensor, lengths: np.ndarray, pooling: Pooling, skipped: np.ndarray | None = None
) -> Tensor:
    """Return (n, D) from the concatenated states of texts with these `lengths`.

    The first `skipped` (n,) tokens of the texts do not count: `cls` is then the state behind them.
    """
    device = h_TD.device
    first = np.zeros(len(lengths), np.int64) if skipped is None else skipped
    starts = np.cumsum(lengths) - lengths
    if pooling != "mean":
        return h_TD[to_device(starts + (first if pooling == "cls" else lengths - 1), device)]
    if skipped is not None:
        within = np.arange(lengths.sum()) - np.repeat(starts, lengths)
        h_TD = h_TD[to_device(np.nonzero(within >= np.repeat(first, lengths))[0], device)]
    return torch.segment_reduce(h_TD, "mean", lengths=to_device(lengths - first, device), axis=0)


def pool_padded(
    h_nLD: Tensor, lengths: np.ndarray, pooling: Pooling, skipped: np.ndarray | None = None
) -> Tensor:
    """Return (n, D) from the states of texts with these `lengths`, each padded on the right; `skipped` as above."""
    device = h_nLD.device
    first_n = to_device(np.zeros(len(lengths), np.int64) if skipped is None else skipped, device)
    lengths_n = to_device(lengths, device)
    if pooling != "mean":
        place_n = first_n if pooling == "cls" else lengths_n - 1
        return h_nLD[torch.arange(len(lengths), device=device), place_n]
    place_L = torch.arange(h_nLD.shape[1], device=device)
    counts_nL1 = ((place_L >= first_n[:, None]) & (place_L < lengths_n[:, None]))[..., None]
    return (h_nLD * counts_nL1).sum(1) / (lengths_n - first_n)[:, None]
