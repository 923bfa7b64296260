"""The mixture of a plan as tables for the eye: shares, epochs, and the texts of one batch."""

from rich.table import Table
from rich.text import Text

from gte_ray.console import printable
from gte_ray.data.columns import shown
from gte_ray.data.plan import StepPlan
from gte_ray.data.store import Store

SHOWN_CHARACTERS = 200
SHOWN_COLUMNS = 12
"""Columns of one source that are told not to be read."""


def mixture_table(store: Store, plan: StepPlan) -> Table:
    """Each source of the plan: size, share (eq. 4), steps and epochs."""
    table = Table(title=f"{store.uri}: {len(plan.sources)} sources", title_justify="left")
    table.add_column("source")
    table.add_column("task")
    for name in ("pairs", "held out", "share", "steps", "epochs"):
        table.add_column(name, justify="right")
    rows = zip(plan.sources, plan.probabilities, plan.source_steps(), plan.source_epochs(), strict=True)
    for source, share, steps, epochs in rows:
        known = store.source(source.name)
        table.add_row(
            source.name,
            known.task,
            f"{source.rows:,}",
            f"{known.held_out:,}",
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
    """Each source of the store: what was read, kept and dropped."""
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
    """What of each source's input is not in the store though its pairs are, in a line."""
    notes = []
    for source in store.manifest.sources:
        rows = [f"{shown([name], '')} ({count:,} rows)" for name, count in source.unused.items()]
        lost = [f"{count:,} {reason}" for reason, count in source.lost_negatives.items()]
        parts = [
            f"not read: {', '.join(rows[:SHOWN_COLUMNS])}" + (", ..." if len(rows) > SHOWN_COLUMNS else "")
        ] * bool(rows)
        others = [f"{count:,} {printable(ending)}" for ending, count in source.skipped_files.items()]
        parts += [f"files of other kinds: {', '.join(others[:SHOWN_COLUMNS])}"] * bool(others)
        parts += [f"negatives left out: {', '.join(lost)}"] * bool(lost)
        if parts:
            notes.append(f"{source.name}: {'; '.join(parts)}")
    return notes


def batch_table(store: Store, plan: StepPlan, step: int, shown: int) -> Table:
    """The first `shown` pairs of the global batch of one step, texts shortened."""
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
