"""Texts that occur more than once in a batch: they would be counted as negatives of each other."""

import torch
from torch import Tensor

from gte_ray.model.contrast import Contrast
from gte_ray.model.loss import Entries, Tile


class Duplicates:
    """A `Mask`: which columns are no negatives of which local pair, found by 64-bit hashes of their texts.

    Pair j shares a text with pair i when q_i = q_j, d_i = d_j, q_i = d_j or d_i = q_j. No negative of pair i is a
    query, a document or a hard negative whose text is one of its own or one of a pair that shares a text with it:
    with (q, p1) and (q, p2) in the batch, p2 is none for the first, wherever else it stands.

    Nothing of size n x N is made: most pairs share no text, which counting shows, and only the rows of those
    that do are compared with all columns, a tile at a time.
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
        # Hashes become small numbers, which compare twice as fast.
        kinds, numbers, counts = torch.unique(torch.cat(parts), return_inverse=True, return_counts=True)
        n_global = len(queries)
        numbers = numbers.to(torch.int32)
        self.queries, self.documents = numbers[:n_global], numbers[n_global : 2 * n_global]
        self.with_negatives = numbers[n_global:]
        self.texts = len(kinds)
        self.offset = offset
        q, d = self.queries[own], self.documents[own]
        occurrences = 1 + (q == d).long()  # in the pair itself
        self.shares = ((counts[q] > occurrences) | (counts[d] > occurrences)).cpu()

    def __call__(self, tile: Tile) -> Entries:
        of_kinds = self._of_rows(slice(tile.start, tile.start + len(tile.local)))
        return {name: of_kinds[column] for name, (_, column) in tile.kinds.items()}

    def _of_rows(self, rows: slice) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """What is no negative of the local pairs `rows`: (k,) rows, counted from the first, and (k,) columns.

        Twice: for the columns of queries, N of them, and for those of documents and hard negatives, N + m.
        """
        device = self.queries.device
        chosen = self.shares[rows].nonzero()[:, 0].to(device)
        if len(chosen) == 0:
            return (chosen, chosen), (chosen, chosen)
        own = chosen + rows.start + self.offset
        q, d = self.queries[own, None], self.documents[own, None]
        same = (self.queries == q) | (self.documents == d) | (self.documents == q) | (self.queries == d)
        row, pair = same.nonzero(as_tuple=True)  # with the pair itself
        related = torch.zeros(len(chosen), self.texts, dtype=torch.bool, device=device)
        related[row, self.queries[pair].long()] = True
        related[row, self.documents[pair].long()] = True
        found = []
        for columns in (self.queries, self.with_negatives):
            no_negative = related[:, columns.long()]
            no_negative[torch.arange(len(own), device=device), own] = False  # the positive
            row, column = no_negative.nonzero(as_tuple=True)
            found.append((chosen[row], column))
        return found[0], found[1]
