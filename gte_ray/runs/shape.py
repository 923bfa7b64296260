"""The sizes of a backbone that a forecast depends on."""

from dataclasses import dataclass, replace

from gte_ray.config import Config
from gte_ray.pretrained.files import ModelNotFound, model_folder
from gte_ray.pretrained.settings import read_settings
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
    embedded: int | None = None
    """Those of the embeddings of tokens; None for as wide ones as the layers are."""

    @property
    def layer_parameters(self) -> int:
        if self.total is not None:
            embedded = self.vocab_size * self.hidden_size if self.embedded is None else self.embedded
            return max(self.total - embedded, 0)
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
    from gte_ray.model.backbone import empty_backbone, token_table  # the import takes seconds

    try:
        with model_folder(name, weights=False) as folder:
            backbone = empty_backbone(folder / read_settings(folder, name).transformer, name)
    except ModelNotFound:
        return None
    config, embeddings = backbone.config, token_table(backbone, name)
    unused = sum(p.numel() for key, p in backbone.named_parameters() if key.startswith("pooler."))
    return Shape(
        hidden_size=config.hidden_size,
        layers=config.num_hidden_layers,
        intermediate_size=getattr(config, "intermediate_size", 4 * config.hidden_size),
        vocab_size=len(embeddings),
        total=sum(p.numel() for p in backbone.parameters()) - unused,
        embedded=embeddings.numel(),
    )
