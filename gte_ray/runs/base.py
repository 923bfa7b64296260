"""The base model of a run before its first step: its settings, and what they mean for the run."""

import json
from dataclasses import replace
from typing import Literal

from gte_ray.config import Config, Pooling
from gte_ray.pretrained.files import ModelNotFound, model_folder
from gte_ray.pretrained.identity import identity
from gte_ray.pretrained.prompts import Prompts, given_to, lacking
from gte_ray.pretrained.settings import Settings, read_settings

WIDTHS = ("hidden_size", "d_model", "dim", "n_embd")
"""What configs of backbones call the size of their hidden states."""
LEAST_WIDTHS = {900: "gte-large", 600: "gte-base", 256: "gte-small", 0: "tiny"}
"""Recipes by the least size of hidden states that they fit."""


def base_settings(base: str) -> Settings | None:
    """The settings in the base model's folder. None for random weights, or if the model cannot be reached.

    Raises RunError that names a setting that is not supported.
    """
    if base == "scratch":
        return None
    try:
        with model_folder(base, weights=False) as folder:
            return read_settings(folder, base)
    except ModelNotFound:
        return None  # training refuses it later, but a dry run can still show the plan


def fitting(base: str) -> tuple[str, int]:
    """The name of the paper's recipe that a model is nearest to in size, and the tokens at which its folder cuts texts.

    `tiny` for random weights, for models as small, and for one that cannot be reached; 0 if the folder does not say.
    """
    settings = base_settings(base) if base else None
    if settings is None:
        return "tiny", 0
    with model_folder(base, weights=False) as folder:
        config = json.loads((folder / settings.transformer / "config.json").read_text())
    config |= config.get("text_config") or {}
    width = next((config[name] for name in WIDTHS if isinstance(config.get(name), int)), 0)
    name = next(name for least, name in LEAST_WIDTHS.items() if width >= least)
    return name, settings.max_length or 0


def check_base(config: Config) -> None:
    """Raises RunError if training cannot start from the base model, or with the guide. Reads all of their weights."""
    if config.model.base != "scratch":
        from gte_ray.model.load import check_base  # the import takes seconds

        check_base(config.model, config.data.max_length, config.objective.dimensions)
    if config.objective.guide:
        from gte_ray.model.load import check_guide

        check_guide(config.objective.guide, config.data.max_length)


def resolve_pooling(
    config: Config, contents: str, base_identity: str, base_pooling: Pooling | Literal["base"]
) -> tuple[Config, str]:
    """`config` with its pooling resolved, and its fingerprint.

    The fingerprint is the same for "base" and for the name of the pooling that it means.
    """
    default = "mean" if config.model.base == "scratch" else base_pooling
    pooling = default if config.model.pooling == "base" else config.model.pooling

    def pooled(pooling: Pooling | Literal["base"]) -> Config:
        return replace(config, model=replace(config.model, pooling=pooling))

    # The pooling of a base model that does not exist yet is unknown, so the fingerprint cannot name it.
    named = pooled("base" if pooling == default else pooling)
    guide = config.objective.guide
    fingerprint = named.fingerprint(contents, base_identity, identity(guide) if guide else "")
    return pooled(pooling), fingerprint


def base_warnings(config: Config, base: Settings | None, stored_ids: bool) -> list[str]:
    """Warnings about the base model and its prompts. `stored_ids` is whether the store has token ids."""
    name, pooling = config.model.base, config.model.pooling
    own = base.prompts if base is not None else Prompts()
    prompts = own.given(given_to(config.model))
    messages = list(base.notes) if base is not None else []
    if base is not None and pooling != base.pooling:
        messages.append(f"--pooling {pooling}: {name} was made with {base.pooling} pooling")
    messages += lacking(name, prompts)
    if prompts:
        messages.append(f"{name}: in front of texts, and counted with their tokens, go {prompts.in_words()}")
    if prompts and stored_ids and not config.hardware.retokenize:
        messages.append(
            "the store's token ids are without prompts, so its texts are tokenised while training, as by --retokenize"
        )
    return messages
