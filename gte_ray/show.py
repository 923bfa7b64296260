"""python -m gte_ray.show: the sources of a store, the mixture of a recipe, or the texts of one batch."""

from dataclasses import dataclass

import tyro
from rich.console import Console

from gte_ray.console import run_command
from gte_ray.errors import UsageError
from gte_ray.flags import FlatConfig, parse


@dataclass(frozen=True)
class Arguments:
    """Shows what a run would be trained on: sources, shares, epochs, or one batch."""

    config: FlatConfig
    folder: tyro.conf.Positional[str] = ""
    """The store; may also be given as --store."""
    step: int = -1
    """Show the pairs of this step's global batch, counted from 0; -1 for the mixture."""
    pairs: int = 10
    """Pairs of the batch to show."""


def main() -> None:
    arguments = parse(Arguments, "python -m gte_ray.show")
    from gte_ray.data.store import open_store
    from gte_ray.mixture import batch_table, mixture_table
    from gte_ray.run import plan_steps

    console = Console()
    store = open_store(arguments.folder or arguments.config.data.store)
    plan = plan_steps(arguments.config, store)
    if arguments.step < -1 or arguments.step >= plan.steps:
        raise UsageError(f"--step is {arguments.step}; allowed is 0 to {plan.steps - 1}")
    if arguments.step == -1:
        console.print(mixture_table(store, plan))
    else:
        console.print(batch_table(store, plan, arguments.step, arguments.pairs))


if __name__ == "__main__":
    run_command(main)
