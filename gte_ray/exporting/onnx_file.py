"""The backbone of a model as an ONNX file, for runtimes without PyTorch. The only importer of onnxruntime."""

import contextlib
import io
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gte_ray.errors import RunError
from gte_ray.exporting.sections import add_section
from gte_ray.model.backbone import attention
from gte_ray.model.load import TextModel
from gte_ray.runtime import storage
from gte_ray.runtime.imports import of_extra

FILE = "onnx/model.onnx"
"""In a model's folder, where sentence-transformers and others look for it."""
INPUTS, OUTPUT = ("input_ids", "attention_mask"), "last_hidden_state"
TEXTS = ("a short text", "a text that is longer than the others are", "one")
"""By which the file is tried."""
TOLERANCE = 1e-3
"""Largest difference of a hidden state, as a share of the largest one."""
SINGLE_FILE_BYTES = 1_900_000_000
"""Weights beyond it lie in a file of their own: ONNX takes at most 2 GiB in one."""


class _Backbone(nn.Module):
    """A backbone with two inputs and one output."""

    def __init__(self, backbone: Any):
        super().__init__()
        self.backbone = backbone

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden: Tensor = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return hidden


def write_onnx(model: TextModel, folder: str) -> str:
    """Writes the backbone of the model in `folder`, a path or URI, and returns the file's place.

    The file is tried with onnxruntime on padded texts first. Raises RunError if a package is missing, if the backbone cannot
    be written so, or if what comes out is something else.
    """
    with of_extra("onnx", "--onnx needs more packages", RunError):
        import onnxruntime
        import onnxscript  # noqa: F401 - of torch's exporter
    backbone = model.encoder.backbone.to("cpu", torch.float32).eval()
    backbone.set_attn_implementation(attention(backbone))
    module, inputs = _Backbone(backbone), _inputs(model)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / Path(FILE).name
        try:
            write_graph(module, inputs, path)
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            away = _difference(session, module, inputs)
        except Exception as error:  # of torch's exporter, the ONNX checker or the runtime
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            kind = backbone.config.model_type
            raise RunError(f"{model.name}: {kind} cannot be written as ONNX ({reason})") from error
        if not away < TOLERANCE:
            raise RunError(
                f"{model.name}: its ONNX file gives hidden states that are {away:.1%} away, so it is not kept"
            )
        storage.upload(scratch, storage.join(folder, Path(FILE).parent.as_posix()))
    add_section(
        folder,
        "ONNX",
        f"`{FILE}` is the backbone in float32, from `{INPUTS[0]}` and `{INPUTS[1]}` of padded texts to `{OUTPUT}`, before pooling. "
        f"onnxruntime's hidden states were compared with PyTorch's: {away:.0e} away at most, as a share of the largest.",
    )
    return storage.join(folder, FILE)


def _inputs(model: TextModel) -> tuple[Tensor, Tensor]:
    """(texts, L) token ids, padded on the right, and which are real."""
    tokens = model.tokenizer.encode(TEXTS, model.max_length, model.prompts.query)
    real = np.arange(tokens.lengths.max()) < tokens.lengths[:, None]
    ids = np.full(real.shape, model.tokenizer.pad_id, np.int64)
    ids[real] = tokens.values
    return torch.from_numpy(ids), torch.from_numpy(real.astype(np.int64))


def write_graph(module: nn.Module, inputs: tuple[Tensor, Tensor], path: Path) -> None:
    weights = sum(parameter.numel() * 4 for parameter in module.parameters())
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it tells of packages that it does without
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                inputs,
                path,
                input_names=list(INPUTS),
                output_names=[OUTPUT],
                dynamic_shapes=(sizes, sizes),
                dynamo=True,
                verbose=False,
                external_data=weights > SINGLE_FILE_BYTES,
            )
    finally:
        logger.setLevel(level)


def _difference(session: Any, module: nn.Module, inputs: tuple[Tensor, Tensor]) -> float:
    """Largest difference of a real token's hidden state, as a share of the largest; of other sizes than those of the export."""
    worst = 0.0
    for ids, mask in (inputs, (inputs[0][:2, :-1], inputs[1][:2, :-1])):
        with torch.no_grad():
            expected = module(ids, mask)
        (found,) = session.run(None, dict(zip(INPUTS, (ids.numpy(), mask.numpy()), strict=True)))
        real = mask.bool()
        away = (torch.from_numpy(found)[real] - expected[real]).abs().max() / expected[real].abs().max()
        worst = max(worst, float(away))
    return worst
