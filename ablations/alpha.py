"""Table 10: how strongly the size of a source determines how often it is sampled (eq. 4).

Expected: alpha 0.5 beats both extremes, 0 (all sources equally likely) and 1 (all pairs equally likely).

    python ablations/run.py alpha
"""

from dataclasses import replace

from gte_ray.ablation.study import Ablation, Comparison, Row, Setting
from gte_ray.config import Config

PAPER = {0.0: 55.4, 0.3: 58.9, 0.5: 59.0, 1.0: 58.3}
PARTS = {
    0.0: {"Retrieval": 36.7, "STS": 73.2},
    0.3: {"Retrieval": 44.6, "STS": 75.9},
    0.5: {"Retrieval": 44.2, "STS": 76.5},
    1.0: {"Retrieval": 42.0, "STS": 75.5},
}


def rows(base: Config, setting: Setting) -> list[Row]:
    return [
        Row(
            f"{alpha:g}",
            replace(base, data=replace(base.data, alpha=alpha)),
            paper,
            x=alpha,
            paper_parts=PARTS[alpha],
        )
        for alpha, paper in PAPER.items()
    ]


ABLATION = Ablation(
    title="Table 10",
    question="how should sources of unequal sizes be mixed?",
    claim="0.5 is better than uniform (0) and than proportional (1) sampling.",
    rows=rows,
    comparisons=lambda names: [Comparison("0.5", extreme, "better than") for extreme in ("0", "1")],
    axis="alpha",
)
