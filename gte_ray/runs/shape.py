"""The sizes of a backbone that a forecast depends on."""

from dataclasses import dataclass, replace

from gte_ray.config import Config
from gte_ray.recipes import RECIPES

POSITIONS = 512
"""Of BERT."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a backbone that memory and time depend on."""

    hidden_size: int
    layers: int
    intermediate_size: int
    vocab_size: int
    known: bool = True
    """False if the base model could not be reached and these are the recipe's sizes."""
    total: int | None = None
    """All parameters, where they are known; None for those of a BERT of these sizes."""

    @property
    def layer_parameters(self) -> int:
        if self.total is not None:
            return max(self.total - self.vocab_size * self.hidden_size, 0)
        h, i = self.hidden_size, self.intermediate_size
        return self.layers * (4 * h * h + 2 * h * i + 9 * h + i)

    @property
    def parameters(self) -> int:
        if self.total is not None:
            return self.total
        return self.layer_parameters + (self.vocab_size + POSITIONS + 2 + 2) * self.hidden_size


def recipe_shape(config: Config) -> Shape:
    """The sizes in `config`, with the number of parameters that its recipe's model is published with."""
    model = config.model
    sizes = (model.hidden_size, model.layers, model.intermediate_size, model.vocab_size)
    published = RECIPES.get(config.recipe)
    if model.base == "scratch" or published is None:
        return Shape(*sizes)
    return Shape(*sizes, total=round(published.parameters * 1e6))


def model_shape(config: Config) -> Shape:
    """The sizes of the base model, or the recipe's sizes if it cannot be reached."""
    recipe = recipe_shape(config)
    if config.model.base == "scratch":
        return recipe
    return loaded_shape(config.model.base) or replace(recipe, known=False)


def loaded_shape(name: str) -> Shape | None:
    """The sizes of a model; None if it cannot be reached. Raises RunError for a kind that is no text encoder."""
    import transformers

    from gte_ray.model.backbone import count_parameters  # the import takes seconds

    try:
        loaded = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError):
        return None
    intermediate = getattr(loaded, "intermediate_size", 4 * loaded.hidden_size)
    sizes = (loaded.hidden_size, loaded.num_hidden_layers, intermediate, loaded.vocab_size)
    return Shape(*sizes, total=count_parameters(loaded, name))
