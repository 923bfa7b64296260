"""What the training commands do on the console once their flags are parsed."""

import shlex
import threading
from importlib import import_module
from typing import TYPE_CHECKING

from rich.console import Console
from rich.pretty import Pretty

from gte_ray.cli.console import counted, plain_console, print_mlflow
from gte_ray.cli.flags import BUILTIN_STORE
from gte_ray.cli.stores import ensure_store
from gte_ray.config import Config
from gte_ray.runtime import storage
from gte_ray.runtime.cluster import Interruption, start_ray, until_interrupted

if TYPE_CHECKING:
    from gte_ray.runs.plan import Run


def train(config: Config, fresh: bool, dry_run: bool, verbose: bool) -> None:
    """Trains a run, or prints its plan and forecast for `dry_run`. `fresh` starts over."""
    # Heavy imports come after the flags are parsed, so that --help and mistyped flags respond at once.
    from gte_ray.runs.base import check_base
    from gte_ray.runs.benchmark_board import check_board
    from gte_ray.runs.plan import plan_run, warnings

    console = plain_console()
    if not dry_run:
        check_base(config)
    ensure_store(config, console, verbose)
    run = plan_run(config)
    check_board(run)
    for warning in warnings(run):
        console.print(f"warning: {warning}", style="yellow")
    if dry_run:
        _dry_run(run, console)
        return
    # What the training needs is imported while Ray starts; each takes seconds. Not before: an import beside
    # those of the plan could meet one of them half done.
    threading.Thread(target=import_module, args=["gte_ray.runs.execute"], daemon=True).start()
    start_ray(config.cpus, verbose)
    until_interrupted(lambda interruption: _train(run, fresh, verbose, console, interruption))


def _dry_run(run: "Run", console: Console) -> None:
    from gte_ray.cli.store_tables import mixture_table
    from gte_ray.cli.tables import forecast_table
    from gte_ray.runs.forecast import forecast
    from gte_ray.runs.run_folder import public

    console.print(Pretty(public(run.config), expand_all=True))
    console.print(mixture_table(run.store, run.plan))
    console.print(forecast_table(run.config, forecast(run.config, run.store, run.plan)))


def _train(run: "Run", fresh: bool, verbose: bool, console: Console, interruption: Interruption) -> None:
    from gte_ray.cli.progress import ConsoleDisplay
    from gte_ray.cli.tables import dimensions_table, scores_table, steps_table
    from gte_ray.evaluation.heldout import skipped_sources
    from gte_ray.runs.capacity import check_capacity
    from gte_ray.runs.execute import execute, finished
    from gte_ray.runs.lock import locked
    from gte_ray.runs.lowering import ending
    from gte_ray.runs.run_folder import open_run

    display = ConsoleDisplay(console)
    check_capacity(run.config, display.warn)
    with locked(run.folder, interruption, display.say):
        run = open_run(run, fresh)
        earlier = finished(run, display, verbose=verbose)
        if earlier is not None:
            console.print(f"run {run.name} is finished; --fresh trains it anew")
        else:
            console.print(
                f"run {run.name}: {run.plan.steps:,} steps of {run.plan.global_batch:,} pairs "
                f"from {counted(len(run.plan.sources), 'source')} on {run.config.hardware.workers} worker(s)"
            )
            end = ending(run.config.training)
            if end:
                console.print(f"{end}; MLflow has it as another run", soft_wrap=True)
        results = earlier or execute(run, display, interruption, verbose=verbose)
    scores = results.scores
    if scores.after:
        skipped = skipped_sources(run.store, run.config.run.eval_limit)
        console.print(scores_table(scores.before, scores.after, scores.bm25, skipped, scores.seen))
    if scores.benchmark:
        console.print(steps_table(scores.benchmark, scores.benchmark_steps))
        for sentence in scores.benchmark_errors:
            display.warn(sentence)
    if scores.dimensions:
        whole = max(run.config.objective.dimensions)
        console.print(dimensions_table(scores.after, scores.dimensions, whole))
    # Without line breaks, so that they can be copied.
    console.print(f"model   {results.model_folder}", soft_wrap=True)
    print_mlflow(console, run.config.run.tracking_uri, results.mlflow_experiment, results.mlflow_run)
    store = run.config.data.store
    own = [] if store == storage.absolute(BUILTIN_STORE) else ["--store", store]
    command = shlex.join(["python", "-m", "gte_ray.search", results.model_folder, *own])
    console.print(f"search  {command}", soft_wrap=True)
