"""python -m gte_ray.warmup: a small encoder that is a language model, to start a small embedding model from."""

from dataclasses import dataclass

import tyro

from gte_ray.cli.console import plain_console, run_command
from gte_ray.cli.flags import BUILTIN_STORE, WARM_MODEL
from gte_ray.cli.stores import ensure_store, make_warm_model
from gte_ray.config import validate
from gte_ray.errors import UsageError
from gte_ray.recipes import WARM_BATCH, WARM_RATE, WARM_STEPS, recipe, warming


@dataclass(frozen=True)
class Arguments:
    """Trains the tiny recipe's encoder from random weights to name hidden tokens in the texts of a store (BERT's masked
    language modelling), in some minutes on two CPU cores, so that `--model` has something to start from. It starts over if
    it is interrupted. Larger ones are published, as BERT is."""

    store: str = BUILTIN_STORE
    """Pair store, of which both texts are read; the built-in corpus if not given."""
    to: str = WARM_MODEL
    """Folder or URI of the model."""
    steps: int = WARM_STEPS
    """Optimizer steps."""
    batch: int = WARM_BATCH
    """Pairs of a step, drawn as in training."""
    learning_rate: float = WARM_RATE
    """Highest learning rate."""
    seed: int = 42
    """Seed of the weights, the batches and the hidden tokens."""


def main() -> None:
    arguments = tyro.cli(Arguments, prog="python -m gte_ray.warmup")
    for name, value in (("steps", arguments.steps), ("batch", arguments.batch - 1)):
        if value < 1:
            raise UsageError(
                f"--{name} is {getattr(arguments, name)}; allowed is at least {1 + (name == 'batch')}"
            )
    if not 0 < arguments.learning_rate < 1:
        raise UsageError(f"--learning-rate is {arguments.learning_rate:g}; allowed is a number from 0 to 1")
    console, config = plain_console(), recipe("tiny", arguments.store)
    ensure_store(config, console, verbose=False)
    config = warming(config, arguments.steps, arguments.batch, arguments.learning_rate, arguments.seed)
    make_warm_model(validate(config), arguments.to, console)
    console.print(f"model   {arguments.to}", soft_wrap=True)


if __name__ == "__main__":
    run_command(main)
