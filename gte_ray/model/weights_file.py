"""The weights of an encoder in a file of their own."""

from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError, safe_open
from torch import Tensor

from gte_ray.errors import RunError
from gte_ray.model.encoder import Encoder
from gte_ray.runtime import storage

WEIGHTS_FILE = "model.safetensors"
"""The encoder's weights by name, float32."""


def kept_weights(run_folder: str, step: int) -> str:
    """Where the weights after `step` steps are kept until they are scored."""
    return storage.join(run_folder, "weights", f"step-{step}.safetensors")


def load_weights(encoder: Encoder, path: str) -> None:
    """Gives `encoder` the weights of a local weights file; raises RunError when they do not fit."""
    with fitting(path), safe_open(path, "pt") as file:
        for name, parameter in encoder.named_parameters():
            parameter.data.copy_(check_shape(name, file.get_tensor(name), parameter))


def check_shape(name: str, value: Tensor, parameter: Tensor) -> Tensor:
    """`value`, or ValueError when it is not of the parameter's shape."""
    if value.shape != parameter.shape:
        raise ValueError(f"{name} is {list(value.shape)}, the model has {list(parameter.shape)}")
    return value


@contextmanager
def fitting(path: str) -> Iterator[None]:
    """RunError that names `path` where what is read from it does not fit the run."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise RunError(f"checkpoint {path} does not fit this run: {error}") from error
