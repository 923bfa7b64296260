"""A model whose weights are between those of others: their mean, or a point on the arc between two.

Legend: t, the way from the first model to the second, from 0 to 1; omega, the angle between two tensors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gte_ray.errors import RunError
from gte_ray.exporting.card import description, header, usage
from gte_ray.exporting.folder import exported, write_model
from gte_ray.exporting.sections import CARD_FILE
from gte_ray.model.load import TextModel, load_model
from gte_ray.model.weights_file import mean
from gte_ray.report.markdown import code, escaped
from gte_ray.runtime import storage

PARALLEL = 0.9995
"""Cosine of omega from which on the arc is taken for a line, as sin omega would be rounded away."""


@dataclass(frozen=True)
class Method:
    """How weights are merged: by their mean, or along the arc between two."""

    slerp: float | None = None
    """t of spherical interpolation, tensor by tensor (Qwen3-Embedding, 2506.05176); None for the mean."""
    weights: tuple[float, ...] = ()
    """Weights of the models in the mean; empty for equal ones."""

    def __call__(self, tensors: Sequence[Tensor]) -> Tensor:
        if self.slerp is None:
            return mean(tensors, self.weights)
        first, second = tensors
        return slerp(first, second, self.slerp)

    def in_words(self, names: Sequence[str]) -> str:
        shown = [code(name) for name in names]
        if self.slerp is not None:
            return f"{self.slerp:g} of the way on the arc from {shown[0]} to {shown[1]}, tensor by tensor (slerp)"
        if self.weights:
            parts = (f"{weight:g} · {name}" for weight, name in zip(self.weights, shown, strict=True))
            return f"the mean of {' + '.join(parts)}"
        return f"the mean of {', '.join(shown[:-1])} and {shown[-1]}"


def slerp(first: Tensor, second: Tensor, t: float) -> Tensor:
    """Return the point at `t` on the arc between two tensors of the same shape, computed flat and in float64.

    sin((1 - t) omega) / sin omega * first + sin(t omega) / sin omega * second, and on the line between them where they
    are nearly parallel, or one is 0.
    """
    a, b = first.double().flatten(), second.double().flatten()
    norms = a.norm() * b.norm()
    cosine = float(a @ b / norms) if norms > 0 else 1.0
    if abs(cosine) > PARALLEL:
        return mean([first, second], [1 - t, t])
    omega = torch.tensor(cosine, dtype=torch.float64).arccos()
    shares = torch.sin((1 - t) * omega) / torch.sin(omega), torch.sin(t * omega) / torch.sin(omega)
    return (shares[0] * a + shares[1] * b).reshape(first.shape).to(first.dtype)


def merge(names: Sequence[str], method: Method, to: str) -> str:
    """Merge the weights of at least two models in float32, and return the folder or URI of the result, `to`.

    Raises RunError for models that differ in anything but their weights.
    """
    models = [load_model(name) for name in names]
    for other in models[1:]:
        _check_alike(models[0], other)
    merged = models[0]
    parameters = [dict(model.encoder.named_parameters()) for model in models]
    with torch.no_grad():
        for name, parameter in parameters[0].items():
            parameter.copy_(method([of[name] for of in parameters]))
    name = storage.name(to.rstrip("/"))

    def finish(folder: Path) -> None:
        (folder / CARD_FILE).write_text(_card(merged, name, method.in_words(names), names), encoding="utf-8")

    write_model(merged.encoder, merged.tokenizer, to, merged.max_length, finish)
    return to


def _check_alike(first: TextModel, other: TextModel) -> None:
    """Raise RunError that names the first thing beside their weights in which two models differ."""
    for what, a, b in (
        (
            "its backbone is",
            first.encoder.backbone.config.model_type,
            other.encoder.backbone.config.model_type,
        ),
        ("its tokenizer is", first.tokenizer.fingerprint, other.tokenizer.fingerprint),
        ("its pooling is", first.encoder.pooling, other.encoder.pooling),
        ("it normalises:", first.encoder.normalize, other.encoder.normalize),
        ("its longest text has tokens:", first.max_length, other.max_length),
        ("its prompts are", first.prompts, other.prompts),
        ("the shapes of its weights are", _shapes(first), _shapes(other)),
    ):
        if a != b:
            shown = f", not {a}" if len(f"{a}{b}") < 120 else ""
            raise RunError(
                f"{other.name}: {what} {b if shown else 'others'}{shown} as of {first.name}; allowed are models that "
                "differ in their weights alone"
            )


def _shapes(model: TextModel) -> dict[str, tuple[int, ...]]:
    shapes = {name: tuple(p.shape) for name, p in model.encoder.named_parameters()}
    return shapes | {f"activation {layer.activation_name}": () for layer in model.encoder.dense}


def _card(model: TextModel, name: str, how: str, parents: Sequence[str]) -> str:
    shown = exported(model.encoder, model.tokenizer)
    introduction = (
        f"# {escaped(name)}\n\n{description(model.max_length, shown)} Made by gte_ray: its weights are {how}."
    )
    return "\n\n".join([header(parents, name), introduction, usage(shown)]) + "\n"
