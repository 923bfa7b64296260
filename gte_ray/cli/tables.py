"""Tables for the terminal: scores, forecasts and benchmarks."""

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from gte_ray.config import Config
from gte_ray.evaluation.compare import Comparison
from gte_ray.evaluation.heldout import SourceScores, mean_scores
from gte_ray.evaluation.scoreboard import AVERAGE, Scoreboard
from gte_ray.evaluation.scores import Numbered
from gte_ray.evaluation.seen import Seen
from gte_ray.runs.forecast import Forecast


def scores_table(
    before: Sequence[SourceScores],
    after: Sequence[SourceScores],
    bm25: Sequence[SourceScores],
    skipped: Sequence[str] = (),
    seen: Sequence[Seen] = (),
) -> Table:
    """Scores in percent by source: nDCG@10 before training, after it and of BM25, then the other metrics.

    `seen` adds a column with the share of a source's documents that also occur in training pairs.
    """
    notes = (
        [f"without scores, having fewer than two held-out documents: {', '.join(skipped)}"] if skipped else []
    )
    notes += (
        ["seen: documents that are also in pairs that were trained on, with other queries"] if seen else []
    )
    caption = "\n".join(notes) or None
    table = Table(
        title="held-out retrieval, %", caption=caption, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    table.add_column("\nsource", overflow="fold")
    table.add_column("\ndocs", justify="right")
    if seen:
        table.add_column("\nseen", justify="right")
    share = {row.source: row.documents for row in seen}
    for heading in ("nDCG@10\nbefore", "\nafter", "\nBM25", "MRR@10\nafter", "\nBM25"):
        table.add_column(heading, justify="right")
    for heading in ("R@1\nafter", "R@10\nafter"):
        table.add_column(heading, justify="right")
    rows = list(zip(before, after, bm25, strict=True))
    for b, a, m in rows:
        table.add_row(*_cells(b, a, m, share), end_section=a is after[-1])
    if len(rows) > 1:
        mean = _cells(mean_scores(before), mean_scores(after), mean_scores(bm25), share)
        table.add_row(*mean, style="bold")
    return table


def _cells(
    before: SourceScores, after: SourceScores, bm25: SourceScores, seen: Mapping[str, float]
) -> list[Text | str]:
    def percent(value: float, rival: float = 1.0) -> Text:
        return Text(f"{100 * value:.1f}", style="green" if value > rival else "")

    return [
        after.source,
        f"{after.documents:,}",
        *([f"{100 * seen[after.source]:.0f}" if after.source in seen else ""] if seen else []),
        percent(before.ndcg_at_10),
        percent(after.ndcg_at_10, bm25.ndcg_at_10),
        percent(bm25.ndcg_at_10, after.ndcg_at_10),
        percent(after.mrr_at_10, bm25.mrr_at_10),
        percent(bm25.mrr_at_10, after.mrr_at_10),
        percent(after.recall_at_1),
        percent(after.recall_at_10),
    ]


def dimensions_table(after: Sequence[SourceScores], dimensions: Numbered, whole: int) -> Table:
    """nDCG@10 in percent by source, of all `whole` dimensions and of the first alone."""
    title = "nDCG@10 by dimensions, %"
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, min_width=len(title))
    table.add_column("source", overflow="fold")
    columns = [(whole, after), *dimensions]
    for k, _ in columns:
        table.add_column(f"{k:,}", justify="right")
    for number, row in enumerate(after):
        values = [f"{100 * rows[number].ndcg_at_10:.1f}" for _, rows in columns]
        table.add_row(row.source, *values, end_section=row is after[-1])
    if len(after) > 1:
        means = [f"{100 * mean_scores(rows).ndcg_at_10:.1f}" for _, rows in columns]
        table.add_row("mean", *means, style="bold")
    return table


def steps_table(name: str, steps: Sequence[tuple[int, Mapping[str, float]]]) -> Table:
    """The scores of the tasks of a benchmark in percent, by numbers of steps."""
    title = f"{name} by steps, %"
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, min_width=len(title))
    table.add_column("task", overflow="fold")
    for step, _ in steps:
        table.add_column(f"{step:,}", justify="right")
    for task in dict.fromkeys(task for _, scores in steps for task in scores):
        cells = [f"{100 * scores[task]:.1f}" if task in scores else "" for _, scores in steps]
        table.add_row(task, *cells, style="bold" if task == AVERAGE else "")
    return table


def forecast_table(config: Config, result: Forecast) -> Table:
    """The forecast as a table."""
    table = Table(title="forecast", title_justify="left", show_header=False)
    shape = result.shape
    size = f"{shape.parameters / 1e6:,.1f} M"
    if not shape.known:
        size += f" (recipe's sizes: {config.model.base} cannot be reached from here)"
    rows = [
        ("parameters", size),
        ("steps", f"{config.training.steps:,} of {config.training.global_batch:,} pairs"),
        ("tokens", f"{result.tokens / 1e9:,.3f} billion, about {result.tokens_per_text:.0f} a text"),
        ("  lengths from", result.lengths),
        ("memory of a worker", f"{result.worker_bytes / 2**30:,.1f} GiB"),
        ("  weights, gradients, optimizer", f"{result.state_bytes / 2**30:,.1f} GiB"),
        ("  activations", f"{result.activation_bytes / 2**30:,.1f} GiB"),
        ("  embeddings and loss", f"{result.loss_bytes / 2**30:,.1f} GiB"),
        ("time", f"{_duration(result.seconds)} on {config.hardware.workers.most} worker(s)"),
        ("  assuming", result.assumption),
    ]
    for row in rows:
        table.add_row(*row)
    return table


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} hours" if seconds >= 7200 else f"{seconds / 60:,.1f} minutes"


def benchmark_table(found: Scoreboard) -> Table:
    """The scoreboard as a table."""
    return lines_table(f"{found.name}, %", *found.lines())


def comparison_table(found: Comparison) -> Table:
    """Two models task by task as a table."""
    return lines_table(found.title, *found.lines())


def lines_table(title: str, heading: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    """A table of texts, the line of an average in bold."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, min_width=len(title))
    for number, name in enumerate(heading):
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for line in lines:
        table.add_row(*line, style="bold" if line[0] == AVERAGE else "")
    return table
