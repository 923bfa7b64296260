"""The weights of an encoder in a separate file."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
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


def load_weights(encoder: "Encoder", *paths: str) -> None:
    """Load local weights files into the weights of `encoder` that are trained, of several the mean.

    Raises RunError if the weights do not fit.
    """
    with ExitStack() as stack:
        files = []
        for path in paths:
            with fitting(path):
                files.append(stack.enter_context(safe_open(path, "pt")))
        for name, parameter in encoder.named_parameters():
            if not parameter.requires_grad:
                continue
            values = []
            for path, file in zip(paths, files, strict=True):
                with fitting(path):
                    values.append(check_shape(name, file.get_tensor(name), parameter))
            parameter.data.copy_(mean(values))


def mean(tensors: "Sequence[Tensor]", weights: Sequence[float] = ()) -> "Tensor":
    """Return the mean of tensors, weighted if there are `weights`, by a sum in float64 in their order."""
    if len(tensors) == 1:
        return tensors[0]
    shares = [weight / sum(weights) for weight in weights] or [1 / len(tensors)] * len(tensors)
    total = tensors[0].double() * shares[0]
    for tensor, share in zip(tensors[1:], shares[1:], strict=True):
        total.add_(tensor.double(), alpha=share)
    return total.to(tensors[0].dtype)


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
