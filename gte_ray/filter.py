"""python -m gte_ray.filter: leaves pairs out of a store: repeated ones, near-duplicates, those a model finds inconsistent."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import tyro
from rich.console import Console

from gte_ray.cli.console import plain_console, run_command
from gte_ray.cli.model_flags import FlatModelFlags, ModelFlags
from gte_ray.runtime.cluster import want_ray

if TYPE_CHECKING:
    from gte_ray.data.store import Store
    from gte_ray.filtering.rules import Rules


@dataclass(frozen=True)
class Arguments:
    """Writes a pair store again, without pairs that several sources have (--unique), whose document is nearly the same as
    another (--near-duplicates), or whose document a model does not find by their query (--consistent). Finished sources
    are not filtered again; held-out pairs stay."""

    store: tyro.conf.Positional[str]
    """Folder or URI of the pair store."""
    out: tyro.conf.Positional[str]
    """Folder or URI of the store without these pairs."""
    unique: bool = False
    """Keep a pair that several sources have in the first of them alone, and one that is held out in none to train on."""
    near_duplicates: float = 0.0
    """Of unequal documents that share about this part of their runs of five words (0.5 to 0.95; MinHash) keep the first
    alone; 0.8 is usual, and 0 keeps all. A document that several pairs have stays with all of them."""
    priority: tuple[str, ...] = ()
    """Names of sources that keep such pairs and documents before all others; these follow in the order of the store."""
    consistent: str = ""
    """Keep the pairs whose document is among the first that this model finds for their query: a folder of an embedding
    model, a folder at a URI, a Hugging Face id, or bm25."""
    among_first: int = 2
    """How many documents are the first. Other known positives of the query do not count."""
    sample: int = 1_000_000
    """Most pairs of a source among whose documents the model searches."""
    sources: tuple[str, ...] = ()
    """Names of the sources that may lose pairs; empty for all. The others are copied."""
    computing: FlatModelFlags = ModelFlags()
    verbose: bool = False
    """Show Ray's logs."""


def main() -> None:
    arguments = tyro.cli(Arguments, prog="python -m gte_ray.filter")
    arguments.computing.check()
    from gte_ray.cli.progress import PreparingProgress
    from gte_ray.cli.store_tables import print_store
    from gte_ray.data.store import open_store
    from gte_ray.retrieval.bm25 import BM25
    from gte_ray.runtime import storage

    rules, store = _rules(arguments), open_store(storage.absolute(arguments.store))
    rules.order(store, [info.name for info in store.chosen(arguments.sources)] if arguments.sources else [])
    storage.check_reachable(arguments.out)
    console = plain_console()
    # Torch is imported once the flags are known to be right.
    from gte_ray.filtering.filter_store import filter_store
    from gte_ray.model.load import check_model

    for note in check_model(rules.model, prompts=rules.prompts) if rules.model not in ("", BM25) else ():
        _warn(console, note)
    want_ray(arguments.computing.cpus, arguments.verbose)
    with PreparingProgress(console) as progress:
        left = filter_store(
            store,
            arguments.out,
            rules,
            arguments.computing.pool(),
            sources=arguments.sources,
            report=progress.report,
            tell=partial(console.print, soft_wrap=True),
        )
    print_store(console, left)
    others = {info.name for info in left.manifest.sources} - {info.name for info in store.manifest.sources}
    if others and rules.compares:
        _warn(console, f"{', '.join(sorted(others))} were in OUT before and were not compared")
    _warn_of_losses(console, store, left)


def _warn_of_losses(console: Console, store: "Store", left: "Store") -> None:
    rows = {info.name: info.rows for info in store.manifest.sources}
    few = [info.name for info in left.manifest.sources if 0 < 2 * info.rows < rows.get(info.name, 0)]
    if few:
        _warn(console, f"more than half of the pairs left {', '.join(few)}")
    empty = [source.name for source in left.manifest.sources if not source.rows]
    if empty:
        _warn(console, f"no pair to train on is left in {', '.join(empty)}")


def _rules(arguments: Arguments) -> "Rules":
    """Raises UsageError for arguments that are out of range."""
    from gte_ray.filtering.near import check_installed
    from gte_ray.filtering.rules import Rules
    from gte_ray.retrieval.bm25 import BM25
    from gte_ray.runtime import storage

    if arguments.near_duplicates:
        check_installed()
    return Rules(
        arguments.unique,
        arguments.near_duplicates,
        arguments.priority,
        storage.absolute_folder(arguments.consistent, BM25) if arguments.consistent else "",
        arguments.among_first,
        arguments.sample,
        arguments.computing.prompts,
    )


def _warn(console: Console, sentence: str) -> None:
    console.print(f"warning: {sentence}", style="yellow", soft_wrap=True)


if __name__ == "__main__":
    run_command(main)
