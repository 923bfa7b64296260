"""Tables for the terminal: mixtures, stores, batches, scores, forecasts and benchmarks."""

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from gte_ray.cli.console import printable
from gte_ray.config import Config
from gte_ray.data.columns import shown
from gte_ray.data.step_plan import StepPlan
from gte_ray.data.store import Store
from gte_ray.evaluation.heldout import SourceScores, mean_scores
from gte_ray.evaluation.scoreboard import AVERAGE, Scoreboard
from gte_ray.evaluation.seen import Seen
from gte_ray.runs.forecast import Forecast

SHOWN_CHARACTERS = 200
SHOWN_COLUMNS = 12
"""Most unread columns, and most skipped file types, that are listed for one source."""


def mixture_table(store: Store, plan: StepPlan) -> Table:
    """One row per source of the plan: size, share (eq. 4), steps and epochs."""
    table = Table(title=f"{store.uri}: {len(plan.sources)} sources", title_justify="left")
    table.add_column("source")
    table.add_column("task")
    for name in ("pairs", "held out", "share", "steps", "epochs"):
        table.add_column(name, justify="right")
    rows = zip(plan.sources, plan.probabilities, plan.source_steps(), plan.source_epochs(), strict=True)
    for source, share, steps, epochs in rows:
        entry = store.source(source.name)
        table.add_row(
            source.name,
            entry.task,
            f"{source.rows:,}",
            f"{entry.held_out:,}",
            f"{share:.1%}",
            f"{steps:,}",
            f"{epochs:.2f}",
        )
    pairs = sum(source.rows for source in plan.sources)
    held_out = sum(store.source(source.name).held_out for source in plan.sources)
    epochs = plan.steps * plan.global_batch / pairs
    table.add_section()
    table.add_row("all", "", f"{pairs:,}", f"{held_out:,}", "100.0%", f"{plan.steps:,}", f"{epochs:.2f}")
    return table


def store_table(store: Store) -> Table:
    """One row per source of the store: what was read, kept and dropped."""
    table = Table(title=f"{store.uri}: {len(store.manifest.sources)} sources", title_justify="left")
    for name in ("source", "task", "layout"):
        table.add_column(name)
    for name in ("read", "to train on", "held out", "MB"):
        table.add_column(name, justify="right")
    table.add_column("dropped")
    mined = any(source.negatives for source in store.manifest.sources)
    if mined:
        table.add_column("negatives of a pair", justify="right")
    for source in store.manifest.sources:
        table.add_row(
            source.name,
            source.task,
            source.reader,
            f"{source.read:,}",
            f"{source.rows:,}",
            f"{source.held_out:,}",
            f"{source.bytes / 1e6:,.1f}",
            ", ".join(f"{count:,} {reason}" for reason, count in source.dropped.items()),
            *[f"{source.negatives / max(source.rows, 1):.1f}"] * mined,
        )
    return table


def store_notes(store: Store) -> list[str]:
    """One line for each source with columns, files or negatives that are not in the store, or shared documents."""
    notes = []
    for source in store.manifest.sources:
        columns = [f"{shown([name], '')} ({count:,} rows)" for name, count in source.unused.items()]
        lost = [f"{count:,} {reason}" for reason, count in source.lost_negatives.items()]
        parts = [
            f"not read: {', '.join(columns[:SHOWN_COLUMNS])}"
            + (", ..." if len(columns) > SHOWN_COLUMNS else "")
        ] * bool(columns)
        skipped = [f"{count:,} {printable(ending)}" for ending, count in source.skipped_files.items()]
        parts += [f"files of other kinds: {', '.join(skipped[:SHOWN_COLUMNS])}"] * bool(skipped)
        parts += [f"negatives left out: {', '.join(lost)}"] * bool(lost)
        shared = source.shared_documents
        parts += [f"{shared:,} pairs to train on have a document that is held out with another query"] * bool(
            shared
        )
        if parts:
            notes.append(f"{source.name}: {'; '.join(parts)}")
    return notes


def batch_table(store: Store, plan: StepPlan, step: int, shown: int) -> Table:
    """The first `shown` pairs of the global batch of one step, with shortened texts."""
    batch = plan[step]
    rows = [
        (row, pair["query"], pair["document"])
        for start, stop, _ in batch.spans
        for row, pair in enumerate(
            store.read_rows(batch.source, start, stop, ["query", "document"]).to_pylist(), start
        )
    ]
    table = Table(
        title=f"step {step} of {plan.steps}: {len(rows):,} pairs of {batch.source}",
        title_justify="left",
        show_lines=True,
    )
    table.add_column("row", justify="right")
    table.add_column("query", ratio=1)
    table.add_column("document", ratio=2)
    for row, query, document in rows[:shown]:
        table.add_row(str(row), _short(query), _short(document))
    return table


def _short(text: str) -> Text:
    line = printable(" ".join(text.split()))
    return Text(line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 1] + "…")


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
    heading, lines = found.lines()
    table = Table(title=f"{found.name}, %", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(heading):
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for line in lines:
        table.add_row(*line, style="bold" if line[0] == AVERAGE else "")
    return table
