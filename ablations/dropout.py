"""Ours: dropout in fine-tuning, which the paper does not mention.

Expected: none is needed, so that the fast path, which is exact on any hardware, costs nothing. Pre-training has none in
any row: it sees each pair less than once.

    python ablations/run.py dropout --seeds 3
"""

from dataclasses import replace

from gte_ray.ablation.study import Ablation, Comparison, Row, Setting, finetuning_baseline
from gte_ray.config import Config

DROPOUTS = {"none": (0.0, 0.0), "hidden": (0.1, 0.0), "attention": (0.0, 0.1), "both": (0.1, 0.1)}
"""Probabilities of hidden states and of attention, by row; BERT's own are 0.1 for both."""


def rows(base: Config, setting: Setting) -> list[Row]:
    finetuning = finetuning_baseline(base, setting)
    return [
        Row(
            name,
            replace(
                finetuning,
                model=replace(finetuning.model, hidden_dropout=hidden, attention_dropout=attention),
            ),
            first=base,
        )
        for name, (hidden, attention) in DROPOUTS.items()
    ]


ABLATION = Ablation(
    title="ours",
    question="does fine-tuning need dropout?",
    claim="Fine-tuning with a dropout of 0.1 is no better than without, be it of hidden states, attention or both.",
    rows=rows,
    comparisons=lambda names: [
        Comparison(name, "none", "no better than") for name in names if name != "none"
    ],
    axis="dropout in fine-tuning",
    finetunes=True,
)
