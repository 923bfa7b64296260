"""Table 9: pre-training alone, fine-tuning alone, and both in sequence.

Expected: fine-tuning alone is not enough, and both together are best. All rows start from the same weights. The
laptop profile fine-tunes on the built-in corpus, with hard negatives from BM25. Its pairs are those of
pre-training; the paper's supervised data are different.

    python ablations/run.py stages
"""

from gte_ray.ablation.study import Ablation, Comparison, Row, Setting, finetuning_baseline
from gte_ray.config import Config


def rows(base: Config, setting: Setting) -> list[Row]:
    finetuning = finetuning_baseline(base, setting)
    return [
        Row("PT", base, 59.0),
        Row("FT", finetuning, 57.8),
        Row("Full", finetuning, 62.4, first=base),
    ]


ABLATION = Ablation(
    title="Table 9",
    question="does each stage help?",
    claim="Pre-training is better than fine-tuning alone, and both in sequence are better than either.",
    rows=rows,
    comparisons=lambda names: [
        Comparison("PT", "FT", "better than"),
        Comparison("Full", "PT", "better than"),
        Comparison("Full", "FT", "better than"),
    ],
    axis="stages",
    finetunes=True,
)
