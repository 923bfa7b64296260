"""Ours: whether pairs that share a text should be masked as each other's negatives.

Expected: slightly better with the mask, and more so for sources that repeat their texts often. The paper does
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
