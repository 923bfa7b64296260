"""Table 8: the score along one run, at five of its checkpoints.

Expected: saturation at two fifths of the steps (20,000 of 50,000). This is one run with one learning-rate
schedule, not five runs.

    python ablations/run.py steps
"""

from gte_ray.ablation.study import Ablation, Comparison, Row, Setting
from gte_ray.config import Config

PAPER = (56.4, 59.0, 57.8, 57.7, 59.0)
"""After 10,000, 20,000, ..., 50,000 steps."""


def rows(base: Config, setting: Setting) -> list[Row]:
    fifth = base.training.steps // len(PAPER)
    return [
        Row(f"{number * fifth:,}", base, paper, x=number * fifth, step=number * fifth)
        for number, paper in enumerate(PAPER, start=1)
    ]


ABLATION = Ablation(
    title="Table 8",
    question="how many steps are enough?",
    claim="The score saturates at two fifths of the steps.",
    rows=rows,
    comparisons=lambda names: [
        Comparison(names[1], names[0], "better than"),
        Comparison(names[-1], names[1], "no better than"),
    ],
    axis="steps",
)
