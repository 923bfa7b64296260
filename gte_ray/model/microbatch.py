"""Split texts into micro-batches of similar lengths within a token budget."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gte_ray.data.batch import TokenLists

PADDING_SHARE = 0.04
"""Share of padding above which a padded micro-batch is cut early."""
EARLY_CUT = 0.125
"""Share of the budget that a micro-batch must exceed before padding may cut it: small ones are slow."""


@dataclass(frozen=True)
class MicroBatch:
    """n texts, longest first, T tokens in all."""

    rows: np.ndarray
    """(n,) int64, index of each text in the token lists it was taken from."""
    values: np.ndarray
    """(T,) int32, the concatenated token ids of all texts."""
    lengths: np.ndarray
    """(n,) int64, descending."""
    skipped: np.ndarray | None = None
    """(n,) int64, the first tokens of each text that are not pooled; None for none."""

    @property
    def tokens(self) -> int:
        """Real tokens, T."""
        return len(self.values)

    @property
    def padded_tokens(self) -> int:
        """Tokens if every text is padded to the longest."""
        return len(self.lengths) * int(self.lengths[0])


def join(*parts: TokenLists) -> TokenLists:
    """Concatenate the texts of all `parts`."""
    lengths = np.concatenate([part.lengths for part in parts])
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    skipped = None
    if any(part.skipped is not None for part in parts):
        skipped = np.concatenate(
            [np.zeros(len(part), np.int64) if part.skipped is None else part.skipped for part in parts]
        )
    return TokenLists(np.concatenate([part.values for part in parts]), offsets, skipped)


def micro_batches(tokens: TokenLists, budget: int, packed: bool) -> list[MicroBatch]:
    """Split all texts of `tokens` into micro-batches of at most `budget` tokens (or of one text).

    If `packed`, only real tokens count; otherwise padding counts too. The longest texts come first, so that a
    budget too large for the memory fails at once. Raises ValueError if a text has no tokens.
    """
    lengths = tokens.lengths
    if len(lengths) and lengths.min() < 1:
        raise ValueError(f"text {int(lengths.argmin())} has no tokens, so it has no embedding")
    order = np.argsort(-lengths, kind="stable")
    cuts = _cuts(lengths[order], budget, packed)
    return [_take(tokens, order[start:stop]) for start, stop in pairwise(cuts)]


def _cuts(lengths: np.ndarray, budget: int, packed: bool) -> list[int]:
    """Return the boundaries of the micro-batches in the descending `lengths`."""
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
    skipped = None if tokens.skipped is None else tokens.skipped[rows]
    return MicroBatch(rows, tokens.values[shifts + np.arange(len(shifts))], lengths, skipped)
