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


def main() -> None:
    arguments = tyro.cli(Arguments, prog="python -m gte_ray.export")
    if arguments.step < 0:
        raise UsageError(
            f"--step is {arguments.step}; allowed is a number of steps, or 0 for the last checkpoint"
        )
    from gte_ray.runs.checkpoint_model import export_checkpoint

    console = plain_console()
    quiet_loggers()
    made = export_checkpoint(arguments.run, arguments.step, arguments.to)
    console.print(f"after   {made.steps:,} of {made.all_steps:,} steps", highlight=False)
    console.print(f"model   {made.folder}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    run_command(main)
