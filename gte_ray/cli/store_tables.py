"""Tables for the terminal of what a store has, or a source will have."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gte_ray.cli.console import counted, printable
from gte_ray.data.sorted_source import group_name
from gte_ray.data.step_plan import StepPlan
from gte_ray.data.store import Store
from gte_ray.readers.catalogue import groups
from gte_ray.readers.columns import shown
from gte_ray.readers.preview import Preview
from gte_ray.readers.spec import SourceSpec

SHOWN_CHARACTERS = 200
SHOWN_COLUMNS = 12
"""Most unread columns, and most skipped file types, that are listed for one source."""


def mixture_table(store: Store, plan: StepPlan) -> Table:
    """One row per source of the plan: size, share (eq. 4), steps and epochs."""
    table = Table(title=f"{store.uri}: {counted(len(plan.sources), 'source')}", title_justify="left")
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


def paper_table(store: Store, plan: StepPlan) -> Table:
    """The groups of Table 1 beside those of the plan's sources: pairs, share of the steps, epochs."""
    table = Table(title="beside the paper (Table 1)", title_justify="left")
    table.add_column("group")
    for name in ("paper's pairs", "sources", "pairs", "sources", "share", "epochs"):
        table.add_column(name, justify="right")
    tasks = [store.source(source.name).task for source in plan.sources]
    steps_of = plan.source_steps()
    others = sorted(set(tasks) - {group.task for group in groups()})
    rows = [
        (group.name, group.task, f"{group.pairs:,}", str(group.datasets)) for group in groups() if group.task
    ]
    rows += [(task, task, "", "") for task in others]
    for name, wanted, paper_pairs, datasets in rows:
        mine = [number for number, task in enumerate(tasks) if task == wanted]
        pairs = sum(plan.sources[number].rows for number in mine)
        steps = int(sum(steps_of[number] for number in mine))
        here = [f"{pairs:,}", str(len(mine)), f"{steps / plan.steps:.1%}"] if mine else ["none", "", ""]
        epochs = f"{steps * plan.global_batch / pairs:.2f}" if pairs else ""
        table.add_row(name, paper_pairs, datasets, *here, epochs)
    return table


def print_store(console: Console, store: Store) -> None:
    """What the store has, and what a user should know of it."""
    console.print(store_table(store))
    for note in [*layout_notes(store), *store_notes(store)]:
        console.print(note, soft_wrap=True)


def store_table(store: Store) -> Table:
    """One row per source of the store: what was read, kept and dropped."""
    title = f"{store.uri}: {counted(len(store.manifest.sources), 'source')}"
    table = Table(
        title=title,
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        min_width=len(title),
    )
    for name in ("source", "task"):
        table.add_column(name, overflow="fold")
    for name in ("read", "dropped", "to train on", "held out", "MB"):
        table.add_column(name, justify="right")
    mined = any(source.negatives for source in store.manifest.sources)
    if mined:
        table.add_column("negatives of a pair", justify="right")
    for source in store.manifest.sources:
        table.add_row(
            source.name,
            source.task,
            f"{source.read:,}",
            f"{sum(source.dropped.values()):,}",
            f"{source.rows:,}",
            f"{source.held_out:,}",
            f"{source.bytes / 1e6:,.1f}",
            *[f"{source.negatives / max(source.rows, 1):.1f}"] * mined,
        )
    return table


def layout_notes(store: Store) -> list[str]:
    """A line for each layout that sources were read in, with their names."""
    names: dict[str, list[str]] = {}
    for source in store.manifest.sources:
        names.setdefault(source.reader, []).append(source.name)
    count = len(store.manifest.sources)
    return [
        f"read as {printable(layout)}: {f'all {count} sources' if len(names) == 1 < count else ', '.join(those)}"
        for layout, those in names.items()
    ]


def store_notes(store: Store) -> list[str]:
    """One line for each source with pairs, columns, files or negatives that are not in the store, or shared documents."""
    notes = []
    for source in store.manifest.sources:
        columns = [f"{shown([name], '')} ({count:,} rows)" for name, count in source.unused.items()]
        lost = [f"{count:,} {reason}" for reason, count in source.lost_negatives.items()]
        dropped = [f"{count:,} {reason}" for reason, count in source.dropped.items()]
        parts = [f"dropped: {', '.join(dropped)}"] * bool(dropped)
        parts += [
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
        parts += [f"scores by {printable(source.teacher)}"] * bool(source.teacher)
        if parts:
            notes.append(f"{source.name}: {'; '.join(parts)}")
    return notes


def preview_table(source: SourceSpec, preview: Preview) -> Table:
    """The first pairs of a source, with shortened texts."""
    more = f" and {preview.files - 1:,} more file(s)" if preview.files > 1 else ""
    table = Table(
        title=f"{source.name} ({source.task}): {printable(preview.file)}{more}",
        title_justify="left",
        show_lines=True,
    )
    negatives = any(pair.negatives for pair in preview.pairs)
    split = any(pair.group for pair in preview.pairs)
    scored = any(pair.score is not None for pair in preview.pairs)
    columns = (*[("source", 1)] * split, ("query", 1), ("document", 2), *[("negatives", 1)] * negatives)
    columns += (("score", 1),) * scored
    for name, ratio in columns:
        table.add_column(name, ratio=ratio)
    for pair in preview.pairs:
        first = str(pair.negatives[0]) if pair.negatives else ""
        others = [Text(f"{len(pair.negatives)}: ") + _short(first) if first else Text("")] * negatives
        part = [group_name(source.name, pair.group)] * split
        others += [Text("" if pair.score is None else f"{pair.score:g}")] * scored
        table.add_row(*part, _short(pair.query), _short(pair.document), *others)
    return table


def preview_notes(preview: Preview) -> list[str]:
    """What is dropped of the first rows, and which columns are not read."""
    dropped = [f"{count:,} {reason}" for reason, count in sorted(preview.dropped.items())]
    notes = [f"of the first {preview.read:,} rows are dropped: {', '.join(dropped)}"] if dropped else []
    notes += [f"  {reason}: {row}" for reason, rows in sorted(preview.examples.items()) for row in rows]
    columns = [shown([name], "") for name in preview.unused]
    more = ", ..." if len(columns) > SHOWN_COLUMNS else ""
    return notes + [f"not read: {', '.join(columns[:SHOWN_COLUMNS])}{more}"] * bool(columns)


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
