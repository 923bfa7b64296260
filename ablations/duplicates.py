"""Ours: whether pairs that share a text should be kept from being each other's negatives.

Expected: a little better with the mask, the more so the more often a source repeats its texts. The paper does
not mask.

    python ablations/run.py duplicates
"""

from dataclasses import replace

from gte_ray.ablation.study import Ablation, Row, Setting, more_is_better
from gte_ray.config import Config


def rows(base: Config, setting: Setting) -> list[Row]:
    return [
        Row(name, replace(base, objective=replace(base.objective, mask_duplicates=mask)))
        for name, mask in (("off", False), ("on", True))
    ]


ABLATION = Ablation(
    title="ours",
    question="does masking of identical texts help?",
    claim="Masking is better than not masking.",
    rows=rows,
    comparisons=more_is_better,
    axis="masking of identical texts",
)
