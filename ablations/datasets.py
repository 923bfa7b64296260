"""Figure 3a: more sources in pre-training (the 5 largest, plus 10 at random, all 33) and in fine-tuning
(three of E5's, plus MEDI's, plus BERRI's).

Expected: more diverse sources are better. All rows are scored on all sources. If a store has another number
of sources, the groups keep the paper's proportions. If a fine-tuning store has no sources with E5's names,
its groups are proportional too, by size. The figure prints no numbers; 59.0 and 62.4 are the scores with all
sources (Table 9).

    python ablations/run.py datasets
"""

import random
from dataclasses import replace

from gte_ray.ablation.study import Ablation, Row, Setting, finetuning_baseline, more_is_better
from gte_ray.config import Config

LARGEST, ADDED, ALL = 5, 10, 33
"""The paper's numbers of sources."""
E5 = ("msmarco", "nq", "nli")
"""Sources that Wang et al. (2022b) fine-tune on."""


def rows(base: Config, setting: Setting) -> list[Row]:
    by_size = sorted(setting.sources, key=lambda name: (-setting.sources[name], name))
    share = len(by_size) / ALL
    few = max(1, round(LARGEST * share))
    added = max(1, round(ADDED * share))
    others = by_size[few:]
    drawn = random.Random(base.seed).sample(others, min(added, len(others)))
    groups = [(f"{few} largest", by_size[:few]), (f"+ {len(drawn)} random", by_size[:few] + drawn)]
    subsets = [
        Row(name, replace(base, data=replace(base.data, sources=tuple(chosen))), x=len(chosen))
        for name, chosen in groups
    ]
    return [*subsets, Row(f"all {len(by_size)}", base, 59.0, x=len(by_size)), *_finetuning(base, setting)]


def _finetuning(base: Config, setting: Setting) -> list[Row]:
    by_size = sorted(setting.finetuning_sources, key=lambda name: (-setting.finetuning_sources[name], name))
    few = [name for name in E5 if name in by_size] or by_size[: max(1, len(by_size) // 4)]
    others = [name for name in by_size if name not in few]
    medi = [name for name in others if name.startswith("medi")] or others[
        : max(1, len(by_size) // 2 - len(few))
    ]
    whole = Row(f"all {len(by_size)}, fine-tuning", finetuning_baseline(base, setting), 62.4)
    groups = [(f"first {len(few)}, fine-tuning", few), (f"+ {len(medi)}, fine-tuning", few + medi)]
    subsets = [
        Row(name, finetuning_baseline(base, setting, chosen), x=len(chosen)) for name, chosen in groups
    ]
    return [
        replace(row, first=base, series="fine-tuning", x=row.x or len(by_size)) for row in [*subsets, whole]
    ]


ABLATION = Ablation(
    title="Figure 3a",
    question="do more sources help?",
    claim="The more diverse the sources, the better.",
    rows=rows,
    comparisons=lambda names: [*more_is_better(names[:3]), *more_is_better(names[3:])],
    axis="sources",
    finetunes=True,
)
