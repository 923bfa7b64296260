"""Texts cut into micro-batches of similar lengths, by a budget of tokens."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gte_ray.data.batch import TokenLists

PADDING_SHARE = 0.04
"""Padding of a padded micro-batch above which it is cut early."""
EARLY_CUT = 0.125
"""Share of the budget that a micro-batch has to reach before padding may cut it: small ones are slow."""


@dataclass(frozen=True)
class MicroBatch:
    """n texts, longest first, T tokens in all."""

    rows: np.ndarray
    """(n,) int64, where each text stands in the token lists that it was taken from."""
    values: np.ndarray
    """(T,) int32, the ids of all texts, one text after another."""
    lengths: np.ndarray
    """(n,) int64, descending."""

    @property
    def tokens(self) -> int:
        """Real tokens, T."""
        return len(self.values)

    @property
    def padded_tokens(self) -> int:
        """Tokens when every text is filled up to the longest."""
        return len(self.lengths) * int(self.lengths[0])


def join(*parts: TokenLists) -> TokenLists:
    """The texts of all `parts`, one part after another."""
    lengths = np.concatenate([part.lengths for part in parts])
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    return TokenLists(np.concatenate([part.values for part in parts]), offsets)


def micro_batches(tokens: TokenLists, budget: int, packed: bool) -> list[MicroBatch]:
    """All texts of `tokens`, each in one micro-batch of at most `budget` tokens (or of one text).

    `packed` counts real tokens, otherwise padding counts too. The longest texts come first, so that a
    budget that is too large for the memory fails at once.
    """
    lengths = tokens.lengths
    if len(lengths) and lengths.min() < 1:
        raise ValueError(f"text {int(lengths.argmin())} has no tokens, so it has no embedding")
    order = np.argsort(-lengths, kind="stable")
    cuts = _cuts(lengths[order], budget, packed)
    return [_take(tokens, order[start:stop]) for start, stop in pairwise(cuts)]


def _cuts(lengths: np.ndarray, budget: int, packed: bool) -> list[int]:
    """Where micro-batches begin and end in the descending `lengths`."""
    cuts, real = [0], 0
    for i, length in enumerate(lengths.tolist()):
        real += length
        computed = real if packed else (i + 1 - cuts[-1]) * int(lengths[cuts[-1]])
        wasteful = computed - real > PADDING_SHARE * computed and computed > EARLY_CUT * budget
        if i > cuts[-1] and (computed > budget or wasteful):
            cuts.append(i)
            real = length
    return cuts if len(lengths) == 0 else [*cuts, len(lengths)]


def _take(tokens: TokenLists, rows: np.ndarray) -> MicroBatch:
    lengths = tokens.lengths[rows]
    ends = np.cumsum(lengths)
    shifts = np.repeat(tokens.offsets[rows] - (ends - lengths), lengths)
    return MicroBatch(rows, tokens.values[shifts + np.arange(len(shifts))], lengths)
