"""Exact search for the k documents with the highest scores for each query, one tile of scores at a time.

Legend: n queries, m documents, t documents of a tile, k documents to keep, D dimensions.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

QUERY_TILE = 1_024
DOCUMENT_TILE = 8_192
"""Scores of one query tile and one document tile are in memory at a time. The sizes are fixed because the
last bit of a score depends on the shape of the matrix product."""


class Nearest:
    """The k best documents so far for each of n queries. Equal scores rank in document order."""

    def __init__(self, n: int, k: int, device: torch.device):
        self.scores = torch.full((n, k), -torch.inf, device=device)
        """(n, k) float32, descending; -inf where fewer documents were found."""
        self.documents = torch.full((n, k), -1, device=device)
        """(n, k) int64; -1 where fewer documents were found."""
        self._seen = 0

    def add(self, scores: Tensor) -> None:
        """Adds the next t documents by their (n, t) scores, -inf for documents that are not candidates."""
        k, start = self.scores.shape[1], 0
        while start < scores.shape[1]:
            # At most as many at a time as were seen before: about k of them beat the k best so far.
            stop = start + max(2 * k, self._seen)
            self._merge(scores[:, start:stop])
            self._seen += min(stop, scores.shape[1]) - start
            start = stop

    def _merge(self, scores: Tensor) -> None:
        n, k = self.scores.shape
        row, column = _true_cells(scores > self.scores[:, -1:])
        counts = torch.bincount(row, minlength=n)
        width = int(counts.max()) if n else 0
        if width == 0:
            return
        slot = k + torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
        all_scores = torch.nn.functional.pad(self.scores, (0, width), value=-torch.inf)
        all_documents = torch.nn.functional.pad(self.documents, (0, width), value=-1)
        all_scores[row, slot] = scores[row, column]
        all_documents[row, slot] = column + self._seen
        ordered, order = all_scores.sort(dim=1, descending=True, stable=True)
        self.scores, self.documents = ordered[:, :k], all_documents.gather(1, order[:, :k])


def _true_cells(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the true cells of the (n, t) mask, in order. Scans eight columns at a time."""
    if mask.shape[1] % 8:
        return mask.nonzero(as_tuple=True)  # type: ignore[return-value]
    row, eight = mask.view(torch.int64).nonzero(as_tuple=True)
    which, within = mask.view(len(mask), -1, 8)[row, eight].nonzero(as_tuple=True)
    return row[which], eight[which] * 8 + within


class Found(NamedTuple):
    """The result of a search for n queries."""

    scores: Tensor
    """(n, k) float32, descending; -inf where fewer documents were found."""
    documents: Tensor
    """(n, k) int64; -1 where fewer documents were found."""
    excluded: Tensor
    """(e,) float32, the scores of the excluded pairs."""


def nearest(queries: Tensor, blocks: Iterable[Tensor], k: int, excluded: Tensor) -> Found:
    """Finds the k documents with the highest inner products for each query, in the order of `Nearest`.

    `queries` are (n, D). `blocks` yields the documents in order, (m', D) each, on the same device. `excluded`
    (e, 2) int64 on the CPU, ascending, are the (query, document) pairs that are not candidates.
    """
    starts = range(0, len(queries), QUERY_TILE)
    bests = [Nearest(min(QUERY_TILE, len(queries) - start), k, queries.device) for start in starts]
    bounds = row_bounds(excluded, torch.tensor([*starts, len(queries)]))
    excluded_scores = torch.empty(len(excluded))
    seen = 0
    for block in blocks:
        for tile in block.split(DOCUMENT_TILE):
            for start, best, (first, last) in zip(starts, bests, pairwise(bounds), strict=True):
                scores = (queries[start : start + QUERY_TILE] @ tile.T).float()
                pairs = excluded[first:last] - torch.tensor([start, seen])
                inside = (pairs[:, 1] >= 0) & (pairs[:, 1] < len(tile))
                excluded_scores[first:last][inside] = take_out(scores, pairs[inside])
                best.add(scores)
            seen += len(tile)
    return Found(
        torch.cat([best.scores for best in bests]),
        torch.cat([best.documents for best in bests]),
        excluded_scores,
    )


def row_bounds(pairs: Tensor, starts: Tensor) -> list[int]:
    """For each row in `starts`, the index of the first of the ascending (e, 2) `pairs` from that row on."""
    return torch.searchsorted(pairs[:, 0].contiguous(), starts).tolist()


def take_out(scores: Tensor, pairs: Tensor) -> Tensor:
    """Sets the scores of (e, 2) pairs to -inf. Returns their previous scores on the CPU."""
    rows, columns = pairs.to(scores.device).unbind(1)
    taken = scores[rows, columns].cpu()
    scores[rows, columns] = -torch.inf
    return taken
