"""python -m gte_ray.pretrain: pre-trains a text embedding model from a pair store (paper, section 3)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.pretty import Pretty

from gte_ray.config import Config
from gte_ray.console import Interruption, plain_console, run_command, start_ray, until_interrupted
from gte_ray.flags import BUILTIN_STORE, FlatConfig, parse

if TYPE_CHECKING:
    from gte_ray.run import Run


@dataclass(frozen=True)
class Arguments:
    """Pre-trains a text embedding model; the same command goes on with a run that was cut off."""

    config: FlatConfig
    fresh: bool = False
    """Start over, deleting what an earlier run of the same name left."""
    dry_run: bool = False
    """Print the whole config, the mixture and a forecast, and exit."""
    verbose: bool = False
    """Show the logs of Ray, DeepSpeed and MLflow."""


def main() -> None:
    arguments = parse(Arguments, "python -m gte_ray.pretrain")
    train(arguments.config, arguments.fresh, arguments.dry_run, arguments.verbose)


def train(config: Config, fresh: bool, dry_run: bool, verbose: bool) -> None:
    """Does what the flags of a command that trains ask for, on the console."""
    # Heavy imports come after the flags, so that --help and mistyped flags answer at once.
    from gte_ray.base import check_base
    from gte_ray.run import plan_run, warnings

    console = plain_console()
    if not dry_run:
        check_base(config)
    ensure_store(config, console, verbose)
    run = plan_run(config)
    for warning in warnings(run):
        console.print(f"warning: {warning}", style="yellow")
    if dry_run:
        _dry_run(run, console)
        return
    start_ray(config.cpus, verbose)
    until_interrupted(lambda interruption: _train(run, fresh, verbose, console, interruption))


def ensure_store(config: Config, console: Console, verbose: bool) -> None:
    """Prepares the built-in corpus where `config` wants it and it is not there yet; starts Ray for that."""
    from gte_ray import storage
    from gte_ray.data.builtin import prepare_builtin
    from gte_ray.data.ids import Ids
    from gte_ray.data.store import MANIFEST
    from gte_ray.progress import PreparingProgress

    if config.data.store != BUILTIN_STORE or storage.exists(storage.join(BUILTIN_STORE, MANIFEST)):
        return
    start_ray(config.cpus, verbose)
    console.print(f"preparing the built-in corpus in {config.data.store}, once")
    ids = Ids(vocabulary=config.model.vocab_size, max_length=config.data.max_length)
    with PreparingProgress(console) as progress:
        prepare_builtin(config.data.store, ids, progress.report)


def _dry_run(run: "Run", console: Console) -> None:
    from gte_ray.forecast import forecast, forecast_table
    from gte_ray.mixture import mixture_table
    from gte_ray.run import public

    console.print(Pretty(public(run.config), expand_all=True))
    console.print(mixture_table(run.store, run.plan))
    console.print(forecast_table(run.config, forecast(run.config, run.store, run.plan)))


def _train(run: "Run", fresh: bool, verbose: bool, console: Console, interruption: Interruption) -> None:
    from gte_ray.capacity import check_capacity
    from gte_ray.claim import claimed
    from gte_ray.evaluation.heldout import scores_table, skipped_sources
    from gte_ray.progress import ConsoleDisplay
    from gte_ray.run import open_run
    from gte_ray.runner import execute, finished
    from gte_ray.tracking_uri import viewing_command

    display = ConsoleDisplay(console)
    check_capacity(run.config, display.warn)
    with claimed(run.folder, interruption, display.say):
        open_run(run, fresh)
        known = finished(run, display)
        if known is not None:
            console.print(f"run {run.name} is finished; --fresh trains it anew")
        else:
            console.print(
                f"run {run.name}: {run.plan.steps:,} steps of {run.plan.global_batch:,} pairs "
                f"from {len(run.plan.sources)} sources on {run.config.hardware.workers} worker(s)"
            )
        results = known or execute(run, display, interruption, verbose=verbose)
    scores = results.scores
    if scores.after:
        skipped = skipped_sources(run.store, run.config.run.eval_limit)
        console.print(scores_table(scores.before, scores.after, scores.bm25, skipped, scores.seen))
    # Unbroken, so that they can be copied.
    console.print(f"model   {results.model_folder}", soft_wrap=True)
    console.print(f"MLflow  {viewing_command(run.config.run.tracking_uri)}", soft_wrap=True)


if __name__ == "__main__":
    run_command(main)
