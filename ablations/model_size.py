"""Figures 3c and 4: scores and losses of models of three sizes on identical batches.

Expected: the score rises about linearly as parameters grow exponentially, and larger models have a lower loss
throughout. The figures print no numbers; 59.0 is the base model's score (Table 9).

    python ablations/run.py model_size
"""

from dataclasses import replace

from gte_ray.ablation.study import Ablation, Row, Setting, more_is_better
from gte_ray.config import Config
from gte_ray.recipes.paper import gte_base, gte_large, gte_small
from gte_ray.runs.shape import model_shape

PAPER = {"small": (gte_small, 30, None), "base": (gte_base, 110, 59.0), "large": (gte_large, 330, None)}
"""Recipe, parameters in millions, average on MTEB."""
WIDTHS = {64: 2e-3, 128: 2e-3, 256: 1e-3}
"""Laptop: learning rate by width, lower for larger models as in Table 3."""


def rows(base: Config, setting: Setting) -> list[Row]:
    if setting.is_paper:
        return [
            Row(name, _sized(base, make(base.data.store)), paper, x)
            for name, (make, x, paper) in PAPER.items()
        ]
    laptop = []
    for width, rate in WIDTHS.items():
        model = replace(base.model, hidden_size=width, heads=width // 64, intermediate_size=4 * width)
        config = replace(base, model=model, training=replace(base.training, learning_rate=rate))
        laptop.append(Row(f"{width} wide", config, x=model_shape(config).parameters / 1e6))
    return laptop


def _sized(base: Config, recipe: Config) -> Config:
    """Return the baseline with the recipe's model, learning rate and gradient checkpointing."""
    hardware = replace(base.hardware, gradient_checkpointing=recipe.hardware.gradient_checkpointing)
    training = replace(base.training, learning_rate=recipe.training.learning_rate)
    return replace(base, recipe=recipe.recipe, model=recipe.model, training=training, hardware=hardware)


ABLATION = Ablation(
    title="Figures 3c and 4",
    question="do larger models embed better?",
    claim="The larger the model, the better the score.",
    rows=rows,
    comparisons=more_is_better,
    axis="parameters, million",
    logarithmic=True,
    curves=True,
    profiles=("laptop", "paper"),  # there is a language model of one size alone
)
