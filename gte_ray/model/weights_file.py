"""The weights of an encoder in a separate file."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from gte_ray.errors import RunError
from gte_ray.runtime import storage

if TYPE_CHECKING:  # the driver, which knows the files' names, does without torch
    from torch import Tensor

    from gte_ray.model.encoder import Encoder

WEIGHTS_FILE = "model.safetensors"
"""The encoder's weights by name, float32."""


def kept_weights(run_folder: str, step: int) -> str:
    """Return the path that keeps the weights after `step` steps until they are scored."""
    return storage.join(run_folder, "weights", f"step-{step}.safetensors")


def load_weights(encoder: "Encoder", path: str) -> None:
    """Load a local weights file into `encoder`; raises RunError if the weights do not fit."""
    with fitting(path), safe_open(path, "pt") as file:
        for name, parameter in encoder.named_parameters():
            parameter.data.copy_(check_shape(name, file.get_tensor(name), parameter))


def check_shape(name: str, value: "Tensor", parameter: "Tensor") -> "Tensor":
    """Return `value`; raises ValueError if its shape is not the parameter's."""
    if value.shape != parameter.shape:
        raise ValueError(f"{name} is {list(value.shape)}, the model has {list(parameter.shape)}")
    return value


@contextmanager
def fitting(path: str) -> Iterator[None]:
    """Turn errors in the block into a RunError: what it reads from `path` does not fit the run."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise RunError(f"checkpoint {path} does not fit this run: {error}") from error
