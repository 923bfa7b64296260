"""Low-rank adapters (LoRA, 2106.09685), by peft: they alone are trained, and an export has them merged."""

from typing import Any

import torch
from torch import nn

from gte_ray.config import ModelConfig
from gte_ray.errors import RunError

NOT_INSTALLED = "--lora-rank needs peft: pip install 'gte_ray[lora]'"


def add_adapters(backbone: Any, config: ModelConfig, seed: int) -> None:
    """Put an adapter beside each linear layer of `backbone`, and freeze all other weights.

    The first factor is random, by `seed` alone, and the second is zero, so that the model is the same at first.
    Raises RunError if peft is not installed, or the backbone has no linear layer that it knows.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise RunError(NOT_INSTALLED) from error
    settings = LoraConfig(r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules="all-linear")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            inject_adapter_in_model(settings, backbone)
        except ValueError as error:
            raise RunError(
                f"{config.base}: has no adapters ({' '.join(str(error).split())[:200]})"
            ) from error


def merge_adapters(backbone: nn.Module) -> None:
    """Add the adapters, if there are any, to the weights of their layers, and take them out of `backbone`.

    All weights stay frozen, as those without adapters are.
    """
    adapted = [name for name, module in backbone.named_modules() if _is_adapted(module)]
    for name in adapted:
        parent, _, attribute = name.rpartition(".")
        layer: Any = backbone.get_submodule(name)
        layer.merge()
        setattr(backbone.get_submodule(parent), attribute, layer.get_base_layer())


def _is_adapted(module: nn.Module) -> bool:
    return hasattr(module, "lora_A") and hasattr(module, "get_base_layer")
