"""Input and output of a contrastive loss, shared by losses, masks and loss wrappers so that they compose.

Legend: n local pairs, N pairs on all ranks, m hard negatives on all ranks, D dimensions.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Candidates:
    """The texts of all ranks, in rank order, that the local pairs are contrasted with."""

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
    """(m,) int64; None if `negatives` is."""
    negative_owners: Tensor | None = None
    """(m,) int64, index among the N pairs of each hard negative's pair; None if `negatives` is."""

    @property
    def all_documents(self) -> Tensor:
        """(N + m, D): documents, then hard negatives."""
        return self.documents if self.negatives is None else torch.cat([self.documents, self.negatives])


@dataclass(frozen=True)
class Teacher:
    """A teacher's scores of the local pairs, in groups of at most g documents: a pair's own, then its k hard negatives."""

    scores: Tensor
    """(n, g) float32; NaN for a document that the teacher did not score, or where a group has fewer."""
    negatives: Tensor
    """(k, D) unit vectors of the hard negatives of the n pairs."""
    owners: Tensor
    """(k,) int64, index of each negative's pair among the local ones."""
    places: Tensor
    """(k,) int64, place of each negative in its group, from 1."""


class Guide(NamedTuple):
    """The same texts as a guide sees them: another model, whose similarities say which candidates are likely relevant."""

    queries: Tensor
    """(n, G) unit vectors of the local queries."""
    documents: Tensor
    """(n, G) of their documents."""
    all_queries: Tensor
    """(N, G) of the queries of all ranks."""
    all_documents: Tensor
    """(N + m, G) of their documents, then of the hard negatives."""


@dataclass(frozen=True)
class Contrast:
    """The local pairs of a step, and their candidates.

    Local rows and candidates each receive their own part of the gradient. If both come from the same
    embeddings, autograd (through `gather`) adds the parts.
    """

    queries: Tensor
    """(n, D) unit vectors."""
    documents: Tensor
    """(n, D) unit vectors."""
    candidates: Candidates
    offset: int
    """Index of the first local pair among the candidates."""
    teacher: Teacher | None = None
    """None unless an objective distils its scores."""
    guide: Guide | None = None
    """None unless an objective asks one."""

    @property
    def own(self) -> Tensor:
        """(n,) int64, indices of the local pairs among the candidates."""
        return torch.arange(self.offset, self.offset + len(self.queries), device=self.queries.device)


class Loss(NamedTuple):
    """This rank's shares: their sums over ranks are the values for the whole batch."""

    loss: Tensor
    """Scalar with gradient: the sum over local pairs, divided by N."""
    accuracy: Tensor
    """Scalar: number of local queries to which no candidate is closer than the positive, divided by N."""
    masked_share: Tensor
    """Scalar: number of documents and hard negatives masked for local pairs, divided by the number in the
    whole batch, N (N - 1 + m)."""
    margin_share: Tensor
    """Scalar: the part of `masked_share` that is above the model's own margin."""
    guide_share: Tensor
    """Scalar: the part of it that is above the guide's, and not above the model's."""
    distillation: Tensor
    """Scalar: the part of the loss that a teacher's scores make, before its weight; 0 without a teacher."""


class Objective(Protocol):
    """A contrastive loss, or a wrapper around one.

    A pair's loss may depend on all candidates, but not on which pairs are local. The sum over ranks is then
    the same for any number of ranks.
    """

    def __call__(self, contrast: Contrast) -> Loss: ...
