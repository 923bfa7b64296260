"""Texts that occur more than once in a batch: they would be counted as negatives of each other."""

import torch
from torch import Tensor


class Duplicates:
    """Which columns share a text with which local pair, found by 64-bit hashes.

    Pair j shares a text with pair i when q_i = q_j, d_i = d_j, q_i = d_j or d_i = q_j; a hard negative does
    when it equals q_i or d_i. Nothing of size n x N is made: most pairs share no text, which counting
    shows, and only the rows of those that do are compared with all columns, a tile at a time.
    """

    def __init__(
        self, queries: Tensor, documents: Tensor, negatives: Tensor | None, offset: int, n_local: int
    ):
        """Hashes of the queries (N,), the documents (N,) and the hard negatives (m,) of all ranks, int64.

        The local pairs are `n_local` from `offset` on.
        """
        own = slice(offset, offset + n_local)
        parts = [queries, documents] + ([] if negatives is None else [negatives])
        # Hashes become small numbers, which compare twice as fast.
        _, numbers, counts = torch.unique(torch.cat(parts), return_inverse=True, return_counts=True)
        n_global = len(queries)
        numbers = numbers.to(torch.int32)
        self.queries, self.documents = numbers[:n_global], numbers[n_global : 2 * n_global]
        self.negatives = numbers[2 * n_global :]
        self.offset = offset
        q, d = self.queries[own], self.documents[own]
        occurrences = 1 + (q == d).long()  # in the pair itself
        self.shares = ((counts[q] > occurrences) | (counts[d] > occurrences)).cpu()

    def of_rows(self, rows: slice) -> tuple[Tensor, Tensor]:
        """(k,) rows counted from `rows.start` and (k,) columns, N + m of them, that are duplicates of them."""
        device = self.queries.device
        chosen = self.shares[rows].nonzero()[:, 0].to(device)
        if len(chosen) == 0:
            return chosen, chosen
        own = chosen + rows.start + self.offset
        q, d = self.queries[own, None], self.documents[own, None]
        same = (self.queries == q) | (self.documents == d) | (self.documents == q) | (self.queries == d)
        same[torch.arange(len(own), device=device), own] = False
        same = torch.cat([same, (self.negatives == q) | (self.negatives == d)], dim=1)
        row, column = same.nonzero(as_tuple=True)
        return chosen[row], column
