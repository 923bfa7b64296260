"""Ours: whether candidates that are more similar than a pair's own document should be kept from being negatives.

Expected: masking those that are far above it, likely false negatives, helps, as Qwen3-Embedding has it with 0.1; masking all
that are above it hides the errors that there are to learn from. The paper does not mask.

    python ablations/run.py margin --seeds 3
"""

from dataclasses import replace

from gte_ray.ablation.study import Ablation, Comparison, Row, Setting
from gte_ray.config import Config

MARGINS = {"none": 0.0, "0.2": 0.2, "0.1": 0.1, "0.01": 0.01}


def rows(base: Config, setting: Setting) -> list[Row]:
    return [
        Row(name, replace(base, objective=replace(base.objective, false_negative_margin=margin)))
        for name, margin in MARGINS.items()
    ]


ABLATION = Ablation(
    title="ours",
    question="does masking of likely false negatives help?",
    claim="A margin of 0.1 is better than none.",
    rows=rows,
    comparisons=lambda names: [Comparison("0.1", "none", "better than")],
    axis="margin above the positive",
)
