"""python -m gte_ray.export: a model from a checkpoint of a run, which may still be running."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import tyro
from rich.console import Console

from gte_ray.cli.console import plain_console, run_command
from gte_ray.errors import UsageError
from gte_ray.runtime.cluster import quiet_loggers

if TYPE_CHECKING:
    from gte_ray.runs.checkpoint_model import CheckpointModel

TOKENS = 16_384
"""Of a forward pass."""


@dataclass(frozen=True)
class Arguments:
    """Makes a model of the weights that a run has after some of its steps. The run may be running or stopped."""

    run: tyro.conf.Positional[str]
    """Folder or URI of the run."""
    step: int = 0
    """Number of steps after which; one of those that the run has a checkpoint of. 0 for the last of them."""
    to: str = ""
    """Folder or URI of the model; if not given, RUN/model-STEP."""
    average: int = 1
    """Number of checkpoints, that of --step and those before it, that the weights are the mean of."""
    dimensions: int = 0
    """First dimensions that its vectors have; 0 for all. A run with --dimensions is trained for that."""
    quantize: tuple[Literal["int8", "binary"], ...] = ()
    """Measure on the run's held-out pairs what its vectors lose in one byte (int8) or one bit (binary) a dimension, and keep
    what is needed to make them so in the folder."""
    limit: int = 200
    """Most held-out pairs of a source for that."""
    threads: int = os.cpu_count() or 1
    """CPU threads for that."""
    onnx: bool = False
    """Write the backbone as onnx/model.onnx too, tried with onnxruntime."""
    push: str = ""
    """Name of a repository on the Hugging Face hub, as in user/name, that the folder is uploaded to; empty for none."""
    private: bool = False
    """Whether that repository, if it is made now, is for its owner alone."""


def main() -> None:
    arguments = tyro.cli(Arguments, prog="python -m gte_ray.export")
    if len(set(arguments.quantize)) < len(arguments.quantize):
        raise UsageError(f"--quantize is {' '.join(arguments.quantize)!r}; allowed is each once")
    for name, least, allowed in (
        ("step", 0, "a number of steps, or 0 for the last checkpoint"),
        ("average", 1, "a number of checkpoints"),
        ("dimensions", 0, "a number of first dimensions, or 0 for all"),
        ("limit", 1, "at least 1"),
        ("threads", 1, "at least 1"),
    ):
        if getattr(arguments, name) < least:
            raise UsageError(f"--{name} is {getattr(arguments, name)}; allowed is {allowed}")
    from gte_ray.runs.checkpoint_model import Chosen, export_checkpoint

    console = plain_console()
    quiet_loggers()
    if arguments.push:
        from gte_ray.exporting.push import check_push, push

        check_push(arguments.push)
    chosen = Chosen(arguments.step, arguments.average, arguments.dimensions)
    made = export_checkpoint(arguments.run, arguments.to, chosen)
    steps = " and ".join(f"{number:,}" for number in made.steps)
    console.print(f"after   {steps} of {made.all_steps:,} steps")
    console.print(f"model   {made.folder}", soft_wrap=True)
    if arguments.quantize:
        _quantize(arguments, made, console)
    if arguments.onnx:
        from gte_ray.exporting.onnx_file import write_onnx
        from gte_ray.model.load import load_model

        written = write_onnx(load_model(made.folder), made.folder)
        console.print(f"onnx    {written}", soft_wrap=True)
    if arguments.push:
        address = push(made.folder, arguments.push, arguments.private, f"After {steps} steps")
        console.print(f"hub     {address}", soft_wrap=True)


def _quantize(arguments: Arguments, made: "CheckpointModel", console: Console) -> None:
    import torch

    from gte_ray.cli.tables import lines_table
    from gte_ray.data.store import open_store
    from gte_ray.exporting.quantized import quantize, table
    from gte_ray.model.load import load_model

    torch.set_num_threads(arguments.threads)
    model, store = load_model(made.folder), open_store(made.store)
    rows = quantize(model, made.folder, store, arguments.quantize, arguments.limit, TOKENS)
    console.print(lines_table("held-out pairs, %", *table(rows)))


if __name__ == "__main__":
    run_command(main)
