"""What a contrastive loss is given and gives, so that losses, masks and wrappers of losses go together.

Legend: n local pairs, N pairs of all ranks, m hard negatives of all ranks, D dimensions.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Candidates:
    """The texts of all ranks, in the order of ranks: what the local pairs are contrasted with."""

    queries: Tensor
    """(N, D) unit vectors."""
    documents: Tensor
    """(N, D) unit vectors."""
    query_hashes: Tensor
    """(N,) int64, equal for equal texts."""
    document_hashes: Tensor
    """(N,) int64, equal for equal texts."""
    negatives: Tensor | None = None
    """(m, D) unit vectors of hard negatives."""
    negative_hashes: Tensor | None = None
    """(m,) int64; goes with `negatives`."""
    negative_owners: Tensor | None = None
    """(m,) int64, for each hard negative the pair among N that it belongs to; goes with `negatives`."""

    @property
    def all_documents(self) -> Tensor:
        """(N + m, D): documents, then hard negatives."""
        return self.documents if self.negatives is None else torch.cat([self.documents, self.negatives])


@dataclass(frozen=True)
class Contrast:
    """The local pairs of a step, and their candidates.

    Gradients go to the local rows and to the candidates, each for its part; where both come from the same
    embeddings, autograd (through `gather`) adds them up.
    """

    queries: Tensor
    """(n, D) unit vectors."""
    documents: Tensor
    """(n, D) unit vectors."""
    candidates: Candidates
    offset: int
    """The local pairs are rows `offset` on of the candidates."""

    @property
    def own(self) -> Tensor:
        """(n,) int64, the local pairs' places among the candidates."""
        return torch.arange(self.offset, self.offset + len(self.queries), device=self.queries.device)


class Loss(NamedTuple):
    """Shares of this rank: summed over ranks they are the figures of the whole batch."""

    loss: Tensor
    """Scalar with gradient: the sum over local pairs, divided by N."""
    accuracy: Tensor
    """Scalar: local queries that no candidate document is closer to than the positive, divided by N."""
    masked_share: Tensor
    """Scalar: documents and hard negatives that are masked for local pairs, divided by all of the batch's,
    N (N - 1 + m)."""


class Objective(Protocol):
    """A contrastive loss, or one around another.

    What it computes of a pair may depend on all candidates, but not on which pairs are local: the sum over ranks
    is then the same for any number of them.
    """

    def __call__(self, contrast: Contrast) -> Loss: ...
