"""Command-line flags for every field of the config, with a recipe's values as defaults."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

import tyro

from gte_ray.cli.console import plain_console
from gte_ray.config import Config, validate
from gte_ray.recipes import LIST, recipe

BUILTIN_STORE = "data/builtin"
"""Where the built-in corpus is prepared when no store is named."""
HARD_STORE = "data/builtin-hard"
"""Where the built-in corpus with hard negatives is written when no store is named for fine-tuning."""
WARM_MODEL = "data/builtin-warm"
"""Where the language model of the built-in corpus is written when no other place is named."""

Arguments = TypeVar("Arguments")


@dataclass(frozen=True)
class _RecipeFlags:
    """The flags that decide the defaults of all others."""

    recipe: str = "tiny"
    store: str = BUILTIN_STORE
    lora_rank: int | None = None


def _from_recipe(first: _RecipeFlags) -> Config:
    return recipe(first.recipe, first.store, first.lora_rank)


def defaults(
    arguments: Sequence[str],
    first: type[Any] = _RecipeFlags,
    config_of: Callable[[Any], Config] = _from_recipe,
) -> Config:
    """The config that those of `arguments` decide on which are fields of `first`; raises what it raises.

    Lists the recipes and ends the process with exit code 0 for `--recipe LIST`.
    """
    named = [a for a in arguments if a not in ("-h", "--help")]
    deciding, _ = tyro.cli(first, args=named, return_unknown_args=True, add_help=False)
    if getattr(deciding, "recipe", "") == LIST:
        from gte_ray.cli.recipe_table import print_recipes

        print_recipes(plain_console())
        raise SystemExit(0)
    config = config_of(deciding)
    tracking_uri = os.environ.get("MLFLOW_TRACKING_URI", config.run.tracking_uri)
    return replace(config, run=replace(config.run, tracking_uri=tracking_uri))


def parse(
    kind: type[Arguments],
    prog: str,
    arguments: Sequence[str] | None = None,
    defaults_of: Callable[[Sequence[str]], Config] = defaults,
) -> Arguments:
    """`kind` (a dataclass with a field `config`) from the command line, its config validated.

    Unknown flags and values of the wrong type end the process with exit code 2, UsageError reports values
    out of range.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    default = kind(config=defaults_of(given))  # type: ignore[call-arg]
    parsed = tyro.cli(kind, prog=prog, args=given, default=default, compact_help=False)
    validate(parsed.config)  # type: ignore[attr-defined]
    return parsed


FlatConfig = Annotated[Config, tyro.conf.OmitArgPrefixes]
"""A config whose fields are flags of their own names, without the names of the sections."""
