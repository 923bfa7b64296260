"""python -m gte_ray.show: shows what a run would be trained on, or compares the scores of finished runs."""

from collections.abc import Sequence
from dataclasses import dataclass

import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gte_ray.cli.console import plain_console, run_command
from gte_ray.cli.flags import FlatConfig, parse
from gte_ray.errors import UsageError


@dataclass(frozen=True)
class Arguments:
    """Shows what a run would be trained on (sources, shares, epochs, or one batch), or finished runs' scores."""

    config: FlatConfig
    folders: tyro.conf.Positional[tuple[str, ...]] = ()
    """The store, which may also be given as --store; or folders of finished runs, to compare their scores."""
    step: int = -1
    """Show the pairs of this step's global batch, counted from 0; -1 for the mixture."""
    pairs: int = 10
    """Pairs of the batch to show."""


def main() -> None:
    arguments = parse(Arguments, "python -m gte_ray.show")
    from gte_ray.cli.store_tables import batch_table, mixture_table, paper_table, store_notes
    from gte_ray.data.store import open_store
    from gte_ray.runs.plan import plan_steps
    from gte_ray.runs.results import is_finished

    console, folders = plain_console(), arguments.folders
    unfinished = [folder for folder in folders if not is_finished(folder)]
    if folders and not unfinished:
        _compare(folders, console)
        return
    if len(folders) > 1:
        raise UsageError(
            f"{unfinished[0]} is no finished run; allowed are one store, or folders of finished runs"
        )
    store = open_store(folders[0] if folders else arguments.config.data.store)
    plan = plan_steps(arguments.config, store)
    if arguments.step < -1 or arguments.step >= plan.steps:
        raise UsageError(f"--step is {arguments.step}; allowed is 0 to {plan.steps - 1}")
    if arguments.step == -1:
        console.print(mixture_table(store, plan))
        console.print(paper_table(store, plan))
        for note in store_notes(store):
            console.print(note, soft_wrap=True)
    else:
        console.print(batch_table(store, plan, arguments.step, arguments.pairs))


def _compare(folders: Sequence[str], console: Console) -> None:
    """Held-out nDCG@10 in percent by source, a column for each run, and BM25's."""
    from gte_ray.evaluation.heldout import mean_scores
    from gte_ray.runs.results import read_results
    from gte_ray.runtime import storage

    scores = [read_results(folder).scores for folder in folders]
    columns = [run.after for run in scores] + [scores[0].bm25]
    by_source = [
        {row.source: row.ndcg_at_10 for row in (*rows, mean_scores(rows))} for rows in columns if rows
    ]
    table = Table(
        title="held-out retrieval, nDCG@10 %", title_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("source")
    for heading in (*map(storage.name, folders), "BM25"):
        table.add_column(heading, justify="right")
    for source in dict.fromkeys(source for scored in by_source for source in scored):
        cells = [f"{100 * scored[source]:.1f}" if source in scored else "" for scored in by_source]
        table.add_row(source, *cells, style="bold" if source == "mean" else "")
    console.print(table)


if __name__ == "__main__":
    run_command(main)
