"""The files of a training state: weights and AdamW's moments as safetensors, the rest as JSON."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gte_ray.model.weights_file import WEIGHTS_FILE, fitting

MOMENTS_FILE = "optimizer.safetensors"
"""AdamW's moments, float32, by `exp_avg.` or `exp_avg_sq.` followed by the weight's name."""
SCALARS_FILE = "engine.json"


@dataclass(frozen=True)
class Scalars:
    """The part of the state that is not a tensor."""

    adam_steps: float
    """Number of AdamW updates; steps that overflowed do not count."""
    loss_scaler: dict[str, float] | None
    """Fields of DeepSpeed's dynamic loss scaler; None without fp16."""


@dataclass(frozen=True)
class StateFiles:
    """An open training state; `get_tensor(name)` of `weights` and `moments` reads a single tensor."""

    scalars: Scalars
    weights: Any
    moments: Any


def write_state(
    folder: str, weights: dict[str, Tensor], moments: dict[str, Tensor], scalars: Scalars
) -> None:
    """Write the state to the local `folder`; raises OSError if that fails."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        save_file(weights, Path(folder) / WEIGHTS_FILE)
        save_file(moments, Path(folder) / MOMENTS_FILE)
        (Path(folder) / SCALARS_FILE).write_text(json.dumps(asdict(scalars)))
    except SafetensorError as error:
        raise OSError(str(error)) from error


@contextmanager
def open_state(folder: str) -> Iterator[StateFiles]:
    """Open what `write_state` wrote; raises RunError if it is missing or broken, or does not fit its use."""
    with fitting(folder), ExitStack() as stack:
        scalars = Scalars(**json.loads((Path(folder) / SCALARS_FILE).read_text()))
        weights, moments = (
            stack.enter_context(safe_open(Path(folder) / name, "pt")) for name in (WEIGHTS_FILE, MOMENTS_FILE)
        )
        yield StateFiles(scalars, weights, moments)
