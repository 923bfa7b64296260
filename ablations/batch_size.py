"""Figure 3b: doubling the global batch at a fixed number of steps.

Expected: more in-batch negatives help up to about ten thousand pairs, but not beyond. The figure prints no
numbers; 59.0 is the score of the full run with 16,384 pairs (Tables 8 and 9).

    python ablations/run.py batch_size
"""

from collections.abc import Sequence
from dataclasses import replace

from gte_ray.ablation.study import Ablation, Comparison, Row, Setting, more_is_better
from gte_ray.config import Config

LAPTOP_BATCHES, PAPER_BATCHES = (64, 128, 256, 512), (1_024, 2_048, 4_096, 8_192, 16_384, 32_768)
PAPER = {16_384: 59.0}


def rows(base: Config, setting: Setting) -> list[Row]:
    return [
        Row(f"{n:,}", replace(base, training=replace(base.training, global_batch=n)), PAPER.get(n), x=n)
        for n in (PAPER_BATCHES if setting.is_paper else LAPTOP_BATCHES)
    ]


def comparisons(names: Sequence[str]) -> list[Comparison]:
    expected = more_is_better([name for name in names if name not in ("16,384", "32,768")])
    if "32,768" in names:
        expected.append(Comparison("32,768", "16,384", "no better than"))
    return expected


ABLATION = Ablation(
    title="Figure 3b",
    question="how large should a batch be?",
    claim="A larger batch is better, up to about ten thousand pairs; beyond that it gains nothing.",
    rows=rows,
    comparisons=comparisons,
    axis="global batch, pairs",
    logarithmic=True,
)
