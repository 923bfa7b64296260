"""Recipes: complete configs by name, of pre-training and of the fine-tuning after it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from gte_ray.config import Config
from gte_ray.errors import UsageError
from gte_ray.recipes import lineage, paper


@dataclass(frozen=True)
class Recipe:
    """A model that is known by name."""

    config: Callable[[str], Config]
    """From a store to the whole config; its docstring says where the numbers are from."""
    parameters: float
    """In millions, as published; of `tiny` those of its sizes."""
    continued: bool = False
    """Whether it goes on from an embedding model, at a rate for that."""


RECIPES = {
    "tiny": Recipe(paper.tiny, 2.6),
    "gte-small": Recipe(paper.gte_small, 30),
    "gte-base": Recipe(paper.gte_base, 110),
    "gte-large": Recipe(paper.gte_large, 330),
    "gte-modernbert": Recipe(lineage.gte_modernbert, 149),
    "gte-multilingual": Recipe(lineage.gte_multilingual, 305, True),
    "gte-qwen2-1.5b": Recipe(lineage.gte_qwen2, 1_543, True),
    "qwen3-embedding-0.6b": Recipe(lineage.qwen3_06b, 596, True),
    "qwen3-embedding-4b": Recipe(lineage.qwen3_4b, 4_022, True),
    "qwen3-embedding-8b": Recipe(lineage.qwen3_8b, 7_567, True),
    "nomic-embed": Recipe(lineage.nomic_embed, 137),
    "arctic-embed-m": Recipe(lineage.arctic_embed, 109),
    "embeddinggemma-300m": Recipe(lineage.embeddinggemma, 308, True),
}


LIST = "LIST"
"""In place of a recipe's name, to show them all."""
FINETUNING_BATCH = 128
"""Global batch of fine-tuning, in pairs (section 3.4)."""
ADAPTERS_RATE = 1e-4
"""Learning rate of adapters (LoRA), which are small and begin at zero; ours."""


def recipe(name: str, store: str, lora_rank: int | None = None) -> Config:
    """The config of recipe `name` on `store`. Raises UsageError if there is no recipe of that name.

    With `lora_rank`, it is for adapters of that rank, or for all weights if it is 0.
    """
    return for_adapters(_named(name).config(store), lora_rank)


def finetuning(
    name: str,
    store: str,
    model: str,
    pairs: int,
    global_batch: int = FINETUNING_BATCH,
    lora_rank: int | None = None,
) -> Config:
    """The config that fine-tunes `model`, pre-trained by recipe `name`, for one epoch of `pairs` pairs.

    Fine-tuning is the second stage (section 3.4). Without a `model` it goes on from the recipe's own if that is an
    embedding model. `lora_rank` is as in `recipe`. Raises UsageError if there is no recipe of that name.
    """
    found = _named(name)
    pretraining = found.config(store)
    if name == "tiny":
        group_size, max_length, max_steps = 4, pretraining.data.max_length, 200
    else:
        group_size, max_length, max_steps = 16, 512, pairs
    rate = pretraining.training.learning_rate
    config = replace(
        pretraining,
        # Exactly proportional: one epoch then sees each pair once, up to a batch of each source.
        data=replace(
            pretraining.data, alpha=1.0, split_alpha=None, group_size=group_size, max_length=max_length
        ),
        model=replace(pretraining.model, base=model or (pretraining.model.base if found.continued else "")),
        training=replace(
            pretraining.training,
            steps=max(1, min(round(pairs / global_batch), max_steps)),
            global_batch=global_batch,
            learning_rate=rate if found.continued else rate / 10,
        ),
    )
    return for_adapters(config, lora_rank)


def on_a_cpu(config: Config, max_length: int) -> Config:
    """`config` computed as the tiny recipe is, with texts of up to `max_length` tokens."""
    tiny = RECIPES["tiny"].config(config.data.store)
    return replace(
        config,
        data=replace(config.data, max_length=max_length),
        training=replace(config.training, precision=tiny.training.precision),
        hardware=tiny.hardware,
        run=replace(config.run, checkpoint_every=tiny.run.checkpoint_every, eval_limit=tiny.run.eval_limit),
    )


WARM_STEPS, WARM_BATCH, WARM_RATE = 300, 256, 2e-3
"""Of masked language modelling before pre-training, where there are no published weights of that size; ours."""


def warming(config: Config, steps: int, batch: int, rate: float, seed: int) -> Config:
    """`config` from random weights, with the numbers of a warm-up as a language model."""
    training = replace(config.training, steps=steps, global_batch=batch, learning_rate=rate, warmup=0.1)
    return replace(config, model=replace(config.model, base="scratch"), training=training, seed=seed)


def _named(name: str) -> Recipe:
    if name not in RECIPES:
        raise UsageError(
            f"--recipe is {name!r}; allowed are {', '.join(RECIPES)}, and {LIST}, which shows them"
        )
    return RECIPES[name]


def for_adapters(config: Config, rank: int | None) -> Config:
    """With the config's own rank if none is given, and with a rate for adapters if there are any."""
    rank = config.model.lora_rank if rank is None else rank
    rate = ADAPTERS_RATE if rank > 0 else config.training.learning_rate
    return replace(
        config,
        model=replace(config.model, lora_rank=rank),
        training=replace(config.training, learning_rate=rate),
    )
