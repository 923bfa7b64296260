"""Table 11: the vanilla contrastive loss against the improved one (eq. 6), in pre-training and in fine-tuning.

Expected: each added direction enlarges the pool of negatives at the same batch size, and helps. The two rows
in between are ours. The paper pre-trains these rows for 30,000 steps, and fine-tunes the one of 50,000.

    python ablations/run.py loss
    python ablations/run.py loss --profile warm     from a language model, as in the paper, and from random weights
"""

from dataclasses import replace

from gte_ray.ablation.study import Ablation, Comparison, Row, Setting, finetuning_baseline
from gte_ray.config import Config
from gte_ray.config.fields import Evaluation

DIRECTIONS = {
    "vanilla": (("q2d",), 57.3),
    "q→d + d→q": (("q2d", "d2q"), None),
    "+ q→q": (("q2d", "d2q", "q2q"), None),
    "improved": (("q2d", "q2q", "d2q", "d2d"), 57.8),
}
FINETUNING = {"vanilla": 61.8, "improved": 62.4}
PAPER_STEPS = 30_000


def rows(base: Config, setting: Setting) -> list[Row]:
    second, first = finetuning_baseline(base, setting), base
    if setting.is_paper:
        first = replace(
            base,
            training=replace(base.training, steps=PAPER_STEPS),
            run=replace(
                base.run, checkpoint_every=PAPER_STEPS // 5, eval=Evaluation("heldout", PAPER_STEPS // 5)
            ),
        )

    def directed(config: Config, name: str) -> Config:
        return replace(config, objective=replace(config.objective, directions=DIRECTIONS[name][0]))

    pretraining = [Row(name, directed(first, name), DIRECTIONS[name][1]) for name in DIRECTIONS]
    if setting.is_warm:  # both starts in one report
        cold = replace(first, model=replace(first.model, base="scratch"))
        pretraining += [
            Row(f"{name}, from random weights", directed(cold, name), series="random weights")
            for name in FINETUNING
        ]
    return pretraining + [
        Row(f"{name}, fine-tuning", directed(second, name), paper, first=base, series="fine-tuning")
        for name, paper in FINETUNING.items()
    ]


ABLATION = Ablation(
    title="Table 11",
    question="does the improved contrastive loss help?",
    claim="The improved loss is better than the vanilla one.",
    rows=rows,
    comparisons=lambda names: [
        Comparison("improved", "vanilla", "better than"),
        Comparison("improved, fine-tuning", "vanilla, fine-tuning", "better than"),
    ],
    axis="objective",
    finetunes=True,
)
