"""The similarities of some pairs to all columns at once: what is masked, the losses, their gradient.

Legend: N pairs on all ranks, M columns of a direction (N, or N + m for documents with m hard negatives), r rows of a
tile, D dimensions.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from gte_ray.config import Direction

Entries = Mapping[Direction, tuple[Tensor, Tensor]]
"""Entries of a tile's matrices by direction: (k,) rows, relative to the tile's first, and (k,) columns."""
TileMask = Callable[["Tile"], Entries]
"""Returns the entries of a tile that are not negatives; never the positive."""


class Tile:
    """The similarities of r local pairs to all columns, one matrix per direction."""

    def __init__(
        self,
        vectors: Sequence[Tensor],
        rows: slice,
        offset: int,
        directions: Sequence[Direction],
        temperature: float,
    ):
        """`vectors` are local queries and documents, then those of all ranks, where local ones begin at `offset`.

        `rows` of the local ones are the tile's.
        """
        q, d, *self.columns = vectors
        self.rows, self.temperature = (q[rows], d[rows]), temperature
        self.start: int = rows.start
        """Index of the tile's first pair among the local pairs."""
        # Queries are 0 and documents 1, so query against documents is (0, 1), and so on. In the third sum of
        # eq. 6, d_i is fixed and the queries vary, so its rows are documents.
        self.kinds = {name: ("qd".index(name[0]), "qd".index(name[2])) for name in directions}
        # Scaling the narrow operand saves a pass over the wide product.
        scaled = tuple(x / temperature for x in self.rows)
        self.logits = {name: scaled[a] @ self.columns[b].T for name, (a, b) in self.kinds.items()}
        """(r, M) by direction: similarities divided by the temperature, -inf for masked entries."""
        self.local = torch.arange(len(self.rows[0]), device=q.device)
        self.own = self.local + offset + self.start
        """(r,) indices of the pairs among the candidates."""
        self.scale: Tensor

    @property
    def positive(self) -> Tensor:
        """(r,) logits of the pairs' own documents."""
        return self.logits["q2d"][self.local, self.own]

    def leave_out_own(self, owners: Tensor | None) -> None:
        """Mask each text against itself, and each document against its own hard negatives."""
        n_global = len(self.columns[0])
        for name in ("q2q", "d2d"):
            if name in self.logits:
                self.logits[name][self.local, self.own] = -torch.inf
        if owners is not None and "d2d" in self.logits:
            self.logits["d2d"][:, n_global:].masked_fill_(owners == self.own[:, None], -torch.inf)

    def leave_out(self, masks: Sequence[TileMask]) -> Tensor:
        """Apply `masks`; return the number of documents they mask for queries."""
        masked = [mask(self) for mask in masks]  # before any is applied: a mask may read the logits
        count = self.local.new_zeros(())
        for entries in masked:
            for name, (row, column) in entries.items():
                if name == "q2d":
                    count += (self.logits[name][row, column] > -torch.inf).sum()
                self.logits[name][row, column] = -torch.inf
        return count

    def above(self, margin: float) -> dict[Direction, Tensor]:
        """Return which entries are above their pair's positive by more than `margin`, likely false negatives.

        (r, M) by direction, each by its own similarity: the rule of Qwen3-Embedding (2506.05176), and in what it leaves
        open GISTEmbed's (2402.16829) with the model as its own guide. Never the positive.
        """
        highest = (self.positive + margin / self.temperature)[:, None]
        flags = {name: logits > highest for name, logits in self.logits.items()}
        for flag in flags.values():
            flag[self.local, self.own] = False
        return flags

    def left_out(self) -> dict[Direction, Tensor]:
        """Return which entries are masked, (r, M) by direction."""
        return {name: logits == -torch.inf for name, logits in self.logits.items()}

    def leave_out_same(self, entries: Mapping[Direction, Tensor]) -> Tensor:
        """Mask entries, (r, M) by direction; return the number of documents newly masked for queries."""
        newly = ((self.logits["q2d"] > -torch.inf) & entries["q2d"]).sum()
        for name, logits in self.logits.items():
            logits.masked_fill_(entries[name], -torch.inf)
        return newly

    def ranked_first(self) -> Tensor:
        """Return the number of queries whose positive ranks first."""
        return (self.positive >= self.logits["q2d"].amax(1)).sum()

    def losses(self) -> Tensor:
        """Return the sum of the losses; leaves e^(logit - highest) in `logits`."""
        positive = self.positive
        highest = self.logits["q2d"].amax(1)
        for name, logits in self.logits.items():
            if name != "q2d":
                highest = torch.maximum(highest, logits.amax(1))
        z = torch.zeros_like(highest)
        for logits in self.logits.values():
            z += logits.sub_(highest[:, None]).exp_().sum(1)
        self.scale = 1 / (z * self.temperature)
        return (highest + z.log() - positive).sum()

    def add_gradients(self, weight: float, of_rows: Sequence[Tensor], of_columns: Sequence[Tensor]) -> None:
        """Add the gradient of `weight` times the summed losses with respect to the rows and to all columns."""
        scale = self.scale * weight
        weighted = tuple(x * scale[:, None] for x in self.rows)
        for name, (a, b) in self.kinds.items():
            of_rows[a].addcmul_(self.logits[name] @ self.columns[b], scale[:, None])
            of_columns[b].addmm_(self.logits[name].T, weighted[a])
        # The positive is also in the numerator.
        of_rows[0].sub_(self.columns[1][self.own], alpha=weight / self.temperature)
        of_columns[1][self.own] -= self.rows[0] / self.temperature * weight
