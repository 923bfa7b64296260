"""Ours: the softmax temperature, which the paper fixes at 0.01 (section 3.4).

Expected: 0.01 is best or near it.

    python ablations/run.py temperature
"""

from dataclasses import replace

from gte_ray.ablation.study import Ablation, Row, Setting, best
from gte_ray.config import Config

TEMPERATURES = (0.005, 0.01, 0.02, 0.05)


def rows(base: Config, setting: Setting) -> list[Row]:
    return [
        Row(f"{t:g}", replace(base, objective=replace(base.objective, temperature=t)), x=t)
        for t in TEMPERATURES
    ]


ABLATION = Ablation(
    title="ours",
    question="how sharp should the softmax be?",
    claim="The paper's 0.01 is better than the others.",
    rows=rows,
    comparisons=best("0.01"),
    axis="temperature",
    logarithmic=True,
)
