"""Mask texts that occur more than once in a batch, which would otherwise be each other's negatives."""

import torch
from torch import Tensor

from gte_ray.model.contrast import Contrast
from gte_ray.model.tile import Entries, Tile


class Duplicates:
    """A `Mask` of the columns that are not negatives of each local pair, by 64-bit hashes of their texts.

    Pairs i and j share a text if q_i = q_j, d_i = d_j, q_i = d_j or d_i = q_j. A query, document or hard
    negative is not a negative of pair i if its text belongs to pair i or to a pair that shares a text with
    pair i: with (q, p1) and (q, p2) in the batch, p2 is not a negative of the first pair, wherever else it
    occurs.

    No n x N matrix is built. Counting shows that most pairs share no text; only the rows of those that do are
    compared with all columns, a tile at a time.
    """

    def __init__(self, contrast: Contrast):
        candidates, offset = contrast.candidates, contrast.offset
        queries, documents, negatives = (
            candidates.query_hashes,
            candidates.document_hashes,
            candidates.negative_hashes,
        )
        own = slice(offset, offset + len(contrast.queries))
        parts = [queries, documents] + ([] if negatives is None else [negatives])
        # Replace hashes with small integers, which compare twice as fast.
        unique, numbers, counts = torch.unique(torch.cat(parts), return_inverse=True, return_counts=True)
        n_global = len(queries)
        numbers = numbers.to(torch.int32)
        self.queries, self.documents = numbers[:n_global], numbers[n_global : 2 * n_global]
        self.with_negatives = numbers[n_global:]
        self.texts = len(unique)
        self.offset = offset
        q, d = self.queries[own], self.documents[own]
        occurrences = 1 + (q == d).long()  # within the pair itself
        self.shares = ((counts[q] > occurrences) | (counts[d] > occurrences)).cpu()

    def __call__(self, tile: Tile) -> Entries:
        masked = self._of_rows(slice(tile.start, tile.start + len(tile.local)))
        return {name: masked[column] for name, (_, column) in tile.kinds.items()}

    def _of_rows(self, rows: slice) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return the entries to mask for the local pairs `rows`.

        Each is (k,) rows, relative to the first of `rows`, and (k,) columns: once for the N columns of
        queries, and once for the N + m columns of documents and hard negatives.
        """
        device = self.queries.device
        chosen = self.shares[rows].nonzero()[:, 0].to(device)
        if len(chosen) == 0:
            return (chosen, chosen), (chosen, chosen)
        own = chosen + rows.start + self.offset
        q, d = self.queries[own, None], self.documents[own, None]
        same = (self.queries == q) | (self.documents == d) | (self.documents == q) | (self.queries == d)
        row, pair = same.nonzero(as_tuple=True)  # includes the pair itself
        related = torch.zeros(len(chosen), self.texts, dtype=torch.bool, device=device)
        related[row, self.queries[pair].long()] = True
        related[row, self.documents[pair].long()] = True
        entries = []
        for columns in (self.queries, self.with_negatives):
            masked = related[:, columns.long()]
            masked[torch.arange(len(own), device=device), own] = False  # the positive
            row, column = masked.nonzero(as_tuple=True)
            entries.append((chosen[row], column))
        return entries[0], entries[1]
