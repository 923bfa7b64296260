"""python -m gte_ray.sources: the paper's sources by name, and how the files of each become pairs."""

import tempfile
from dataclasses import dataclass, replace
from difflib import get_close_matches

import tyro
from rich.console import Console
from rich.table import Table

from gte_ray.cli.console import plain_console, run_command
from gte_ray.errors import UsageError
from gte_ray.readers.catalogue import Entry, as_toml, catalogue, groups, template


@dataclass(frozen=True)
class Arguments:
    """Lists the sources of the paper (Table 1, A.1 and A.3), or says of some how to get them and how they are read."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Sources to describe. Without names, all are listed."""
    template: bool = False
    """Print a file of sources for `prepare --sources`, in which only the places of the files are to be said."""


def main() -> None:
    arguments = tyro.cli(Arguments, prog="python -m gte_ray.sources")
    if arguments.template and arguments.names:
        raise UsageError("--template is of all sources; it takes no names")
    if arguments.template:
        print(template(), end="")
        return
    known, console = catalogue(), plain_console()
    for name in arguments.names:
        if name not in known:
            nearest = get_close_matches(name, known, 1)
            hint = f"; {nearest[0]!r} is nearest" if nearest else ""
            raise UsageError(f"there is no source {name!r}{hint}; python -m gte_ray.sources lists them")
    if not arguments.names:
        console.print(_table())
    for name in arguments.names:
        _describe(known[name], console)


def _table() -> Table:
    """Table 1 of the paper with its sources."""
    table = Table(title="the paper's sources", title_justify="left")
    table.add_column("source", no_wrap=True)
    table.add_column("task", no_wrap=True)
    table.add_column("pairs", justify="right")
    for name in ("licence", "what it is"):
        table.add_column(name)
    for group in groups():
        title = f"{group.name} ({group.datasets})"
        table.add_row(title, group.task, f"{group.pairs:,}", "", f"({group.fields})", style="bold")
        for entry in group.entries:
            published = f"{entry.published:,}" if entry.published else ""
            task = "" if group.task else entry.settings["task"]
            table.add_row(f"  {entry.name}", task, published, entry.licence, entry.about)
        table.add_section()
    return table


def _describe(entry: Entry, console: Console) -> None:
    """Prints where a source is, how its files look, and the pairs that its settings make of them."""
    from gte_ray.cli.store_tables import preview_notes, preview_table
    from gte_ray.readers.preview import preview
    from gte_ray.readers.sample import write_sample
    from gte_ray.readers.source_file import source_of

    published = f"{entry.published:,} published" if entry.published else "number of pairs not published"
    console.print(f"{entry.name}: {entry.about}", style="bold", soft_wrap=True)
    console.print(f"{entry.settings['task']}, {published}; licence: {entry.licence}", soft_wrap=True)
    console.print(f"to be had as {entry.get}", soft_wrap=True)
    if entry.note:
        console.print(entry.note, soft_wrap=True)
    console.print(f"\nits files look like this (invented):\n{entry.sample}", soft_wrap=True)
    console.print("and are read by\n")
    console.print(as_toml(entry.name, dict(entry.settings)) + "\n", soft_wrap=True)
    with tempfile.TemporaryDirectory() as folder:
        path = write_sample(entry, folder)
        source = source_of(entry.name, {"files": str(path)}, entry.name)
        found = preview(source, count=10)
    console.print(preview_table(source, replace(found, file=path.name)))
    for note in preview_notes(found):
        console.print(note, soft_wrap=True)


if __name__ == "__main__":
    run_command(main)
