"""The base model of a run before its first step: what its folder says, and what follows for the run."""

from dataclasses import replace
from typing import Literal

from gte_ray.config import Config, Pooling
from gte_ray.pretrained.files import ModelNotFound, model_folder
from gte_ray.pretrained.settings import Settings, read_settings


def base_settings(base: str) -> Settings | None:
    """What the base model's folder says; None for random weights, and for a model that cannot be reached.

    RunError names a setting that is not followed.
    """
    if base == "scratch":
        return None
    try:
        with model_folder(base, weights=False) as folder:
            return read_settings(folder, base)
    except ModelNotFound:
        return None  # training will be refused; what it would be can be shown


def check_base(config: Config) -> None:
    """RunError in one sentence where training cannot start from the base model; reads all of its weights."""
    if config.model.base != "scratch":
        from gte_ray.model.load import check_base  # takes seconds

        check_base(config.model, config.data.max_length)


def resolve_pooling(
    config: Config, contents: str, base_identity: str, base_pooling: Pooling | Literal["base"]
) -> tuple[Config, str]:
    """`config` with the pooling that it comes to, and its fingerprint: the same whichever way that is asked for."""
    usual = "mean" if config.model.base == "scratch" else base_pooling
    pooling = usual if config.model.pooling == "base" else config.model.pooling

    def pooled(pooling: Pooling | Literal["base"]) -> Config:
        return replace(config, model=replace(config.model, pooling=pooling))

    # A base model that is not there yet has a pooling nobody knows, so the fingerprint cannot have its name.
    fingerprint = pooled("base" if pooling == usual else pooling).fingerprint(contents, base_identity)
    return pooled(pooling), fingerprint


def base_warnings(config: Config, base: Settings, stored_ids: bool) -> list[str]:
    """What a user should know of the base model; `stored_ids` says whether the store has token ids."""
    name, pooling, prompts = config.model.base, config.model.pooling, base.prompts
    found = list(base.notes)
    if pooling != base.pooling:
        found.append(f"--pooling {pooling}: {name} was made with {base.pooling} pooling")
    if prompts:
        found.append(f"{name}: in front of texts, and counted with their tokens, go {prompts.in_words()}")
    if prompts and stored_ids and not config.hardware.retokenize:
        found.append(
            "the store's token ids are without prompts, so its texts are tokenised while training, as by --retokenize"
        )
    return found
