"""python -m gte_ray.export: a model from a checkpoint of a run, which may still be running."""

from dataclasses import dataclass

import tyro

from gte_ray.cli.console import plain_console, run_command
from gte_ray.errors import UsageError
from gte_ray.runtime.cluster import quiet_loggers


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


def main() -> None:
    arguments = tyro.cli(Arguments, prog="python -m gte_ray.export")
    for name, least, allowed in (
        ("step", 0, "a number of steps, or 0 for the last checkpoint"),
        ("average", 1, "a number of checkpoints"),
        ("dimensions", 0, "a number of first dimensions, or 0 for all"),
    ):
        if getattr(arguments, name) < least:
            raise UsageError(f"--{name} is {getattr(arguments, name)}; allowed is {allowed}")
    from gte_ray.runs.checkpoint_model import Chosen, export_checkpoint

    console = plain_console()
    quiet_loggers()
    chosen = Chosen(arguments.step, arguments.average, arguments.dimensions)
    made = export_checkpoint(arguments.run, arguments.to, chosen)
    steps = " and ".join(f"{number:,}" for number in made.steps)
    console.print(f"after   {steps} of {made.all_steps:,} steps", highlight=False)
    console.print(f"model   {made.folder}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    run_command(main)
