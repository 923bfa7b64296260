"""Figure 3a, pre-training: the 5 largest sources; those and 10 others drawn at random; all 33.

Expected: more diverse sources are better. All rows are scored on all sources. A store with another number of
sources gets as many in proportion. The figure prints no numbers; 59.0 is the score with all (Table 9).

    python ablations/run.py datasets
"""

import random
from dataclasses import replace

from gte_ray.ablation.study import Ablation, Row, Setting, more_is_better
from gte_ray.config import Config

LARGEST, ADDED, ALL = 5, 10, 33
"""The paper's counts."""


def rows(base: Config, setting: Setting) -> list[Row]:
    by_size = sorted(setting.sources, key=lambda name: (-setting.sources[name], name))
    share = len(by_size) / ALL
    few = max(1, round(LARGEST * share))
    more = max(1, round(ADDED * share))
    others = by_size[few:]
    drawn = random.Random(base.seed).sample(others, min(more, len(others)))
    groups = [(f"{few} largest", by_size[:few]), (f"+ {len(drawn)} random", by_size[:few] + drawn)]
    found = [
        Row(name, replace(base, data=replace(base.data, sources=tuple(chosen))), x=len(chosen))
        for name, chosen in groups
    ]
    return [*found, Row(f"all {len(by_size)}", base, 59.0, x=len(by_size))]


ABLATION = Ablation(
    title="Figure 3a",
    question="do more sources help?",
    claim="The more diverse the sources, the better.",
    rows=rows,
    comparisons=more_is_better,
    axis="sources",
)
