"""Ours: whether a few words in front of texts, which say which side they are of, help.

Expected: little by themselves, as here, where they are the same for all sources. The paper has none; E5 has these.

    python ablations/run.py prompts --seeds 3
"""

from dataclasses import replace

from gte_ray.ablation.study import Ablation, Comparison, Row, Setting
from gte_ray.config import Config

PROMPTS = {"none": (None, None), "query alone": ("query: ", None), "both": ("query: ", "passage: ")}


def rows(base: Config, setting: Setting) -> list[Row]:
    return [
        Row(name, replace(base, model=replace(base.model, prompt_query=query, prompt_document=document)))
        for name, (query, document) in PROMPTS.items()
    ]


ABLATION = Ablation(
    title="ours",
    question="do prompts by side help?",
    claim="Prompts on both sides are better than none.",
    rows=rows,
    comparisons=lambda names: [Comparison("both", "none", "better than")],
    axis="prompts",
)
