"""How often each source is drawn (eq. 4), and each part of one that was split, such as its languages."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PlanSource:
    """The part of a source that the plan depends on."""

    name: str
    rows: int
    split_of: str = ""
    """The source of which this is the part with one value of `split_by`; empty if it is not split."""


def shares(sources: Sequence[PlanSource], alpha: float, split_alpha: float | None = None) -> np.ndarray:
    """(sources,) float64, the share of the steps that each source gets.

    With `split_alpha`, the parts of a split source have together what eq. 4 gives to their rows in all, and each by the
    same rule with this exponent its share of that. Otherwise each part counts as a source.
    """
    if split_alpha is None:
        return probabilities([source.rows for source in sources], alpha)
    wholes: dict[tuple[str, str], list[int]] = {}
    for number, source in enumerate(sources):
        # A source that is not split is a whole of its own, whatever others are called.
        wholes.setdefault((source.split_of, "" if source.split_of else source.name), []).append(number)
    found = np.empty(len(sources))
    of_wholes = probabilities([sum(sources[i].rows for i in parts) for parts in wholes.values()], alpha)
    for parts, share in zip(wholes.values(), of_wholes, strict=True):
        found[parts] = share * probabilities([sources[i].rows for i in parts], split_alpha)
    return found


def probabilities(rows: Sequence[int], alpha: float) -> np.ndarray:
    """(sources,) float64 in proportion to rows ** alpha (eq. 4)."""
    logs = alpha * np.log(np.asarray(rows, dtype=np.float64))  # in logs, as 327M ** alpha may be any size
    weights = np.exp(logs - logs.max())
    return weights / weights.sum()
