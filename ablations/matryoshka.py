"""Ours: what first dimensions that are embeddings of their own (Matryoshka, 2205.13147) cost the whole vector.

Expected: nothing that can be told. The scores are those of whole vectors; each run's folder has those of fewer dimensions.

    python ablations/run.py matryoshka --seeds 3
"""

from dataclasses import replace

from gte_ray.ablation.study import Ablation, Comparison, Row, Setting
from gte_ray.config import Config


def rows(base: Config, setting: Setting) -> list[Row]:
    width = base.model.hidden_size
    levels = {
        "whole": (),
        "1, 1/2": (width, width // 2),
        "1, 1/2, 1/4, 1/8": tuple(width >> k for k in range(4)),
    }
    return [
        Row(name, replace(base, objective=replace(base.objective, dimensions=dimensions)))
        for name, dimensions in levels.items()
    ]


ABLATION = Ablation(
    title="ours",
    question="what do Matryoshka's first dimensions cost the whole?",
    claim="Whole vectors are no better when they alone are trained.",
    rows=rows,
    comparisons=lambda names: [
        Comparison("whole", name, "no better than") for name in names if name != "whole"
    ],
    axis="parts of the vector that are trained",
)
