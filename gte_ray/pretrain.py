"""python -m gte_ray.pretrain: pre-trains a text embedding model from a pair store (paper, section 3)."""

from dataclasses import dataclass

from gte_ray.cli.console import run_command
from gte_ray.cli.flags import FlatConfig, parse
from gte_ray.cli.training import train


@dataclass(frozen=True)
class Arguments:
    """Pre-trains a text embedding model. The same command resumes a run that was interrupted."""

    config: FlatConfig
    fresh: bool = False
    """Start over, deleting what an earlier run of the same name left."""
    dry_run: bool = False
    """Print the whole config, the mixture and a forecast, and exit."""
    verbose: bool = False
    """Show the logs of Ray, DeepSpeed and MLflow. MLflow logs little once its database exists."""


def main() -> None:
    arguments = parse(Arguments, "python -m gte_ray.pretrain")
    train(arguments.config, arguments.fresh, arguments.dry_run, arguments.verbose)


if __name__ == "__main__":
    run_command(main)
