"""`--recipe LIST`: the recipes, what each takes, and where its numbers come from."""

import inspect
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from gte_ray.cli.tables import lines_table
from gte_ray.config import Config
from gte_ray.recipes import RECIPES, recipe
from gte_ray.runs.forecast import Forecast, TextLengths, forecast_of
from gte_ray.runs.shape import recipe_shape

TOKENS = 75
"""Tokens of a text for which the table is worked out, where a recipe does not cut texts before."""
HEADING = ("recipe", "M", "steps", "batch", "rate", "on", "GiB", "hours")
"""Millions of parameters, then memory of each worker, and the time that all of them take."""


def print_recipes(console: Console) -> None:
    """Prints all recipes."""
    foreseen = {name: _forecast(recipe(name, "store")) for name in RECIPES}
    console.print(recipe_table(foreseen))
    for assumption in dict.fromkeys(found.assumption for found in foreseen.values()):
        console.print(f"hours assume {assumption}")
    for name, found in RECIPES.items():
        base = recipe(name, "store").model.base
        start = "random weights" if base == "scratch" else base
        source = " ".join((inspect.getdoc(found.config) or "").split())
        console.print(f"{name}, from {start}: {source}")


def recipe_table(foreseen: Mapping[str, Forecast]) -> Table:
    """The recipes with their forecasts."""
    title = f"pre-training, at {TOKENS} tokens a text: M parameters, GiB of each worker"
    return lines_table(title, HEADING, [_line(name, found) for name, found in foreseen.items()])


def _forecast(config: Config) -> Forecast:
    length = min(TOKENS, config.data.max_length)
    return forecast_of(config, recipe_shape(config), TextLengths(length, length, "assumed"))


def _line(name: str, found: Forecast) -> list[str]:
    config = recipe(name, "store")
    training, hardware = config.training, config.hardware
    return [
        name,
        f"{found.shape.parameters / 1e6:,.0f}",
        f"{training.steps:,}",
        f"{training.global_batch:,}",
        f"{training.learning_rate:g}",
        f"{hardware.workers} {'GPU' if hardware.gpu else 'CPU'}",
        f"{found.worker_bytes / 2**30:,.1f}",
        f"{found.seconds / 3600:,.1f}",
    ]
