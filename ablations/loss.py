"""Table 11, pre-training: the vanilla contrastive loss against the improved one (eq. 6).

Expected: each added direction enlarges the pool of negatives at the same batch, and helps. The two rows in
between are ours. The paper trains these rows for 30,000 steps.

    python ablations/run.py loss
"""

from dataclasses import replace

from gte_ray.ablation.study import Ablation, Comparison, Row, Setting
from gte_ray.config import Config

DIRECTIONS = {
    "vanilla": (("q2d",), 57.3),
    "q→d + d→q": (("q2d", "d2q"), None),
    "+ q→q": (("q2d", "d2q", "q2q"), None),
    "improved": (("q2d", "q2q", "d2q", "d2d"), 57.8),
}
PAPER_STEPS = 30_000


def rows(base: Config, setting: Setting) -> list[Row]:
    if setting.is_paper:
        base = replace(
            base,
            training=replace(base.training, steps=PAPER_STEPS),
            run=replace(base.run, checkpoint_every=PAPER_STEPS // 5, eval_every=PAPER_STEPS // 5),
        )
    return [
        Row(name, replace(base, objective=replace(base.objective, directions=directions)), paper)
        for name, (directions, paper) in DIRECTIONS.items()
    ]


ABLATION = Ablation(
    title="Table 11",
    question="does the improved contrastive loss help?",
    claim="The improved loss is better than the vanilla one.",
    rows=rows,
    comparisons=lambda names: [Comparison("improved", "vanilla", "better than")],
    axis="objective",
)
