"""python -m gte_ray.merge: one model of the weights of several."""

from dataclasses import dataclass

import tyro

from gte_ray.cli.console import plain_console, run_command
from gte_ray.errors import UsageError
from gte_ray.runtime import storage
from gte_ray.runtime.cluster import quiet_loggers


@dataclass(frozen=True)
class Arguments:
    """Makes a model whose weights are the mean of others', or between those of two on an arc. They must be alike in all
    else: fine-tunings of the same model, or exports of a run."""

    models: tyro.conf.Positional[tuple[str, ...]]
    """Folders of models, folders at URIs, or Hugging Face ids."""
    to: str
    """Folder or URI of the merged model."""
    weights: tuple[float, ...] = ()
    """Weight of each model in the mean, above 0; equal if not given."""
    slerp: float | None = None
    """Of two models: the way from the first to the second, from 0 to 1, on the arc between their weights."""


def main() -> None:
    arguments = tyro.cli(Arguments, prog="python -m gte_ray.merge")
    _check(arguments)
    from gte_ray.exporting.merge import Method, merge

    quiet_loggers()
    models = [storage.absolute_folder(model) for model in arguments.models]
    made = merge(models, Method(arguments.slerp, arguments.weights), storage.absolute(arguments.to))
    plain_console().print(f"model   {made}", soft_wrap=True)


def _check(arguments: Arguments) -> None:
    """Raises UsageError for what cannot be merged."""
    count, weights = len(arguments.models), " ".join(f"{weight:g}" for weight in arguments.weights)
    if count < 2:
        raise UsageError("at least two models are needed")
    if arguments.weights and (len(arguments.weights) != count or min(arguments.weights) <= 0):
        raise UsageError(f"--weights is {weights!r}; allowed is a number above 0 for each of {count} models")
    if arguments.slerp is None:
        return
    if count > 2 or arguments.weights:
        raise UsageError(
            "--slerp is between two models, without --weights; of more, the mean does not depend on their order"
        )
    if not 0 <= arguments.slerp <= 1:
        raise UsageError(f"--slerp is {arguments.slerp:g}; allowed is a number from 0 to 1")


if __name__ == "__main__":
    run_command(main)
