"""Pool the states of tokens to one vector per text; packed and padded states give the same vectors.

Legend: n texts, L tokens of the longest text, T tokens of all texts, D dimensions.
"""

import numpy as np
import torch
from torch import Tensor

from gte_ray.config import Pooling


def pool_packed(h_TD: Tensor, lengths: np.ndarray, pooling: Pooling) -> Tensor:
    """Return (n, D) from the concatenated states of texts with these `lengths`."""
    lengths_n = torch.from_numpy(lengths).to(h_TD.device)
    if pooling == "mean":
        return torch.segment_reduce(h_TD, "mean", lengths=lengths_n, axis=0)
    ends_n = lengths_n.cumsum(0)
    return h_TD[ends_n - lengths_n if pooling == "cls" else ends_n - 1]


def pool_padded(h_nLD: Tensor, lengths: np.ndarray, pooling: Pooling) -> Tensor:
    """Return (n, D) from the states of texts with these `lengths`, each padded on the right."""
    if pooling == "cls":
        return h_nLD[:, 0]
    lengths_n = torch.from_numpy(lengths).to(h_nLD.device)
    if pooling == "last":
        return h_nLD[torch.arange(len(lengths), device=h_nLD.device), lengths_n - 1]
    real_nL1 = (torch.arange(h_nLD.shape[1], device=h_nLD.device) < lengths_n[:, None])[..., None]
    return (h_nLD * real_nL1).sum(1) / lengths_n[:, None]
