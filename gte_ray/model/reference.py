"""The loss as the paper prints it, with whole matrices and plain autograd: tests compare faster losses to it.

Legend: n local pairs, N pairs on all ranks, M columns of a direction (N, or N + m for documents).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gte_ray.config import IMPROVED, Direction
from gte_ray.model.contrast import Contrast


def reference_loss(
    contrast: Contrast,
    temperature: float,
    directions: Sequence[Direction] = IMPROVED,
    left_out: Mapping[Direction, Tensor] | None = None,
) -> Tensor:
    """Return this rank's share of eqs. 5 and 6, in O(n N) memory; `left_out` flags (n, M) entries to mask."""
    candidates, own = contrast.candidates, contrast.own
    rows = {"q": contrast.queries, "d": contrast.documents}
    columns = {"q": candidates.queries, "d": candidates.all_documents}
    logits = {name: rows[name[0]] @ columns[name[2]].T / temperature for name in directions}
    positive = logits["q2d"].gather(1, own[:, None])[:, 0]
    for name, values in logits.items():
        out = torch.zeros_like(values, dtype=torch.bool) if left_out is None else left_out[name].clone()
        if name in ("q2q", "d2d"):
            out[torch.arange(len(own)), own] = True
        if name == "d2d" and candidates.negative_owners is not None:
            out[:, len(candidates.documents) :] |= candidates.negative_owners == own[:, None]
        logits[name] = values.masked_fill(out, -torch.inf)
    partition = torch.cat(list(logits.values()), dim=1).logsumexp(1)
    return (partition - positive).sum() / len(candidates.queries)
