"""Linear layers between pooling and normalisation, as sentence-transformers' Dense.

Legend: n texts, D dimensions before a layer, E after it.
"""

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gte_ray.errors import RunError
from gte_ray.pretrained.modules import IDENTITY, DenseSettings

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Files of a layer's weights; the first one present is used."""


class Dense(nn.Module):
    """A linear layer and its activation. Maps (n, D) float32 to (n, E) float32, whatever its weights are in."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, activation: str = IDENTITY):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.linear = nn.Linear(in_features, out_features, bias)
        self.activation_name = activation
        self.activation: nn.Module = getattr(nn, activation.rsplit(".", 1)[-1])()

    def forward(self, vectors: Tensor) -> Tensor:
        bias = self.linear.bias
        return self.activation(
            F.linear(vectors, self.linear.weight.float(), None if bias is None else bias.float())
        )


def truncation(dimensions: int, kept: int) -> Dense:
    """Return a layer that keeps the first `kept` of `dimensions`, in a form that any loader of dense layers knows."""
    layer = Dense(dimensions, kept, bias=False)
    with torch.no_grad():
        layer.linear.weight.copy_(torch.eye(kept, dimensions))
    return layer.requires_grad_(False)


def load_dense(folder: Path, layers: Sequence[DenseSettings], width: int, name: str) -> Iterator[Dense]:
    """Yield the layers of the model in `folder` in float32, for pooled vectors of `width` dimensions.

    Raises RunError, in which the model is called `name`, if a layer does not fit the one before it, or its weights
    are not there or do not fit.
    """
    for settings in layers:
        if settings.in_features != width:
            raise RunError(
                f"{name}: {settings.path}/config.json says in_features = {settings.in_features}; allowed is {width}, "
                "as vectors come to it"
            )
        width = settings.out_features
        layer = Dense(settings.in_features, width, settings.bias, settings.activation)
        files = [folder / settings.path / file for file in WEIGHTS]
        file = next((file for file in files if file.is_file()), files[0])
        try:
            layer.load_state_dict(_read(file))
        except (OSError, RuntimeError, SafetensorError, pickle.UnpicklingError, EOFError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RunError(
                f"{name}: {settings.path}/{file.name} could not be loaded as a dense layer of {settings.in_features} "
                f"to {width} ({reason})"
            ) from error
        yield layer


def _read(file: Path) -> dict[str, Tensor]:
    if file.name == WEIGHTS[0]:
        return load_file(file)
    return torch.load(file, map_location="cpu", weights_only=True)
