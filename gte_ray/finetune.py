"""python -m gte_ray.finetune: fine-tunes an embedding model with hard negatives (paper, section 3.4)."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from gte_ray.cli.console import plain_console, run_command
from gte_ray.cli.flags import HARD_STORE, FlatConfig, defaults, parse
from gte_ray.cli.stores import ensure_hard_store
from gte_ray.cli.training import train
from gte_ray.config import Config
from gte_ray.errors import RunError
from gte_ray.recipes import FINETUNING_BATCH, finetuning, on_a_cpu


@dataclass(frozen=True)
class Arguments:
    """Fine-tunes an embedding model on pairs with hard negatives. The same command resumes a run that was
    interrupted."""

    config: FlatConfig
    fresh: bool = False
    """Start over, deleting what an earlier run of the same name left."""
    dry_run: bool = False
    """Print the whole config, the mixture and a forecast, and exit."""
    verbose: bool = False
    """Show the logs of Ray, DeepSpeed and MLflow. MLflow logs little once its database exists."""


@dataclass(frozen=True)
class _StoreFlags:
    """The flags that determine the defaults of all others. There is no default model."""

    store: str = HARD_STORE
    base: Annotated[str, tyro.conf.arg(aliases=["--model"])] = ""
    recipe: str = ""
    lora_rank: int | None = None
    sources: tuple[str, ...] = ()
    global_batch: int = FINETUNING_BATCH


def main() -> None:
    arguments = parse(Arguments, "python -m gte_ray.finetune", defaults_of=defaults_of_one_epoch)
    console = plain_console()
    if not arguments.dry_run:
        from gte_ray.runs.base import check_base

        check_base(arguments.config)
    named = any(part.split("=")[0] == "--recipe" for part in sys.argv)
    if not named and arguments.config.model.base != "scratch":
        recipe = arguments.config.recipe
        gpus = f"; --recipe {recipe} is for GPUs" if recipe != "tiny" else ""
        console.print(
            f"no --recipe: numbers of {recipe}, nearest to the model in size, computed on the CPU{gpus}",
            soft_wrap=True,
        )
    if ensure_hard_store(arguments.config.data.store, arguments.config, console, arguments.verbose):
        # The defaults that depend on the store's size are known now.
        arguments = parse(Arguments, "python -m gte_ray.finetune", defaults_of=defaults_of_one_epoch)
    train(arguments.config, arguments.fresh, arguments.dry_run, arguments.verbose)


def defaults_of_one_epoch(arguments: Sequence[str]) -> Config:
    """The defaults for one epoch over the store, or over the sources of it, that `arguments` name."""
    return defaults(arguments, _StoreFlags, _config_of)


def _config_of(flags: _StoreFlags) -> Config:
    """Without a recipe, the paper's numbers for a model of that size, and the length of the model's folder."""
    from gte_ray.data.store import open_store
    from gte_ray.runs.base import fitting

    try:
        store = open_store(flags.store, check=False)
        pairs = sum(source.rows for source in store.chosen(flags.sources))
    except RunError:
        pairs = 0  # the run is refused for the same reason once the flags are parsed
    # A batch out of range is refused later too.
    batch = flags.global_batch if flags.global_batch > 0 else FINETUNING_BATCH
    name, length = (flags.recipe, 0) if flags.recipe else fitting(flags.base)
    config = finetuning(name, flags.store, flags.base, pairs, batch, flags.lora_rank)
    if flags.recipe or name == "tiny":
        return config
    return on_a_cpu(config, min(length or config.data.max_length, config.data.max_length))


if __name__ == "__main__":
    run_command(main)
