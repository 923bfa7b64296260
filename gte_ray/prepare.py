"""python -m gte_ray.prepare: prepares a pair store from files, or from the built-in corpus."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console

from gte_ray.cli.console import plain_console, run_command
from gte_ray.errors import UsageError
from gte_ray.runtime.cluster import want_ray

if TYPE_CHECKING:
    from gte_ray.data.store import Store
    from gte_ray.readers.spec import SourceSpec

BENCHMARK_TEXTS = ".benchmarks"
"""Folder of the store for the texts of benchmarks while their hashes are made."""
NO_BENCHMARKS = ("none",)
"""What takes --decontaminate back."""


@dataclass(frozen=True)
class Arguments:
    """Prepares sources of text pairs into a pair store. Finished sources are not prepared again, and other
    sources in the store stay."""

    store: tyro.conf.Positional[str]
    """Folder or URI of the store."""
    source: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """NAME=GLOB:TASK, or NAME=GLOB:TASK:QUERY_COLUMN,DOCUMENT_COLUMN; once for each source. Parquet, JSON
    Lines, CSV or TSV. A column may also be a field within one, such as answers[0].text."""
    sources: str = ""
    """A TOML file of sources, in which rows may be filtered, and queries and documents made of any fields."""
    preview: int = 0
    """Print this many pairs of each source and what is dropped of its first rows; prepares nothing."""
    allow_drops: bool = False
    """Let more than half of the rows of a source be no pairs; without, that is an error that says why they are none."""
    builtin: bool = False
    """Prepare the corpus that is on every machine: texts of the installed packages."""
    remove: tuple[str, ...] = ()
    """Names of sources to take out of the store."""
    held_out: float | None = None
    """Share of the queries set aside for evaluation. If not given, the share of the store; for a new store 0.02,
    or 0.05 for the built-in corpus."""
    held_out_rows: int | None = None
    """Most pairs of a source set aside, about; 0 for any number. If not given, that of the store; for a new store
    10,000."""
    held_out_documents: bool = False
    """Keep pairs out of training whose document a held-out pair has too. If not given, as in the store; in a new
    store such pairs are only counted."""
    decontaminate: tuple[str, ...] = ()
    """Benchmarks whose texts are kept out of the store: folders in BEIR's layout, files with a column `text`, names of mteb's
    tasks, mteb-en, beir. Pairs with such a query or document, or with a long run of words of one, are left out and
    counted. `none` for no benchmark any more; if not given, as in the store."""
    seed: int | None = None
    """Seed of the row order and of the held-out split. If not given, the seed of the store, or 0 for a new one."""
    tokenizer: str = ""
    """Hugging Face id or folder of a tokenizer whose token ids are kept in the store."""
    vocabulary: int = 0
    """Train a WordPiece vocabulary of this many entries on the store, and keep its token ids there."""
    verify: bool = False
    """Read the whole store and compare it with its manifest and its hashes; prepares nothing."""
    ids_length: int = 512
    """Most tokens of a text whose ids are kept, special tokens included."""
    verbose: bool = False
    """Show Ray's logs."""


def main() -> None:
    arguments = tyro.cli(Arguments, prog="python -m gte_ray.prepare")
    _check(arguments)
    if arguments.verify:
        _verify(arguments)
        return
    from gte_ray.readers.source_file import read_source_file
    from gte_ray.readers.spec import parse_source

    sources = [parse_source(text) for text in arguments.source]
    if arguments.sources:
        sources += read_source_file(arguments.sources)
    if arguments.allow_drops:
        sources = [replace(source, allow_drops=True) for source in sources]
    if arguments.preview:
        _preview(sources, arguments.preview)
    else:
        _prepare(arguments, sources)


def _check(arguments: Arguments) -> None:
    """Raises UsageError if flags are missing or exclude each other."""
    named = arguments.source or arguments.sources
    work = named or arguments.builtin or arguments.remove
    if arguments.verify and (work or arguments.tokenizer or arguments.vocabulary):
        raise UsageError("--verify changes nothing; it excludes the flags that do")
    if (named and arguments.builtin) or not (work or arguments.verify):
        raise UsageError(
            "either --source (once or more) or --builtin is needed, or --sources, --remove or --verify"
        )
    if arguments.preview < 0 or (arguments.preview and not named):
        raise UsageError("--preview is a number of pairs of each source, which --source or --sources name")
    if arguments.decontaminate and not named:
        raise UsageError("--decontaminate is for sources that --source or --sources name")
    if arguments.builtin and arguments.remove:
        raise UsageError("--builtin and --remove exclude each other")
    if arguments.tokenizer and arguments.vocabulary:
        raise UsageError("--tokenizer and --vocabulary exclude each other")
    if arguments.vocabulary and arguments.vocabulary < 100:
        raise UsageError(f"--vocabulary is {arguments.vocabulary}; allowed is at least 100 entries")


def _prepare(arguments: Arguments, sources: "Sequence[SourceSpec]") -> None:
    from gte_ray.cli.progress import PreparingProgress
    from gte_ray.data.builtin import BUILTIN_HELD_OUT_SHARE, prepare_builtin
    from gte_ray.data.ids import Ids
    from gte_ray.data.prepare_store import prepare
    from gte_ray.evaluation.benchmark_names import as_files
    from gte_ray.runtime import storage

    ids = None
    if arguments.tokenizer or arguments.vocabulary:
        ids = Ids(arguments.tokenizer, arguments.vocabulary, arguments.ids_length)
    console = plain_console()
    want_ray(1, arguments.verbose)
    with PreparingProgress(console) as progress:
        if arguments.builtin:
            share = BUILTIN_HELD_OUT_SHARE if arguments.held_out is None else arguments.held_out
            store = prepare_builtin(arguments.store, ids, progress.report, arguments.seed or 0, share)
        else:
            texts = storage.join(arguments.store, BENCHMARK_TEXTS)
            given = arguments.decontaminate if arguments.decontaminate != NO_BENCHMARKS else ()
            with as_files("--decontaminate", given, texts, progress.report) as benchmarks:
                store = prepare(
                    arguments.store,
                    sources,
                    seed=arguments.seed,
                    held_out_share=arguments.held_out,
                    held_out_rows=arguments.held_out_rows,
                    held_out_documents=arguments.held_out_documents or None,
                    ids=ids,
                    remove=arguments.remove,
                    decontaminate=benchmarks if arguments.decontaminate else None,
                    report=progress.report,
                    tell=partial(console.print, soft_wrap=True),
                )
    _show(store, console)
    for source in sources:
        made = [info for info in store.manifest.sources if source.name in (info.name, info.split_of)]
        for what, path, found in (
            ("negatives", source.reading.negatives, any(info.negatives for info in made)),
            ("a score", source.reading.score, any(info.teacher for info in made)),
        ):
            if path and not found:
                sentence = f"warning: {source.name}: no row has {what} by {path!r}"
                console.print(sentence, style="yellow", soft_wrap=True)


def _preview(sources: "Sequence[SourceSpec]", count: int) -> None:
    from gte_ray.cli.store_tables import preview_notes, preview_table
    from gte_ray.readers.preview import preview

    console = plain_console()
    for source in sources:
        found = preview(source, count)
        console.print(preview_table(source, found))
        for note in preview_notes(found):
            console.print(note)


def _verify(arguments: Arguments) -> None:
    from gte_ray.cli.progress import PreparingProgress
    from gte_ray.data.store import open_store
    from gte_ray.data.verify import verify

    store, console = open_store(arguments.store), plain_console()
    want_ray(1, arguments.verbose)
    with PreparingProgress(console) as progress:
        verified = verify(store, progress.report)
    console.print(
        f"{arguments.store}: {verified.pairs:,} pairs in {verified.files:,} files are as they were written"
    )


def _show(store: "Store", console: Console) -> None:
    """Prints what is in the store, and what a user should know of it."""
    from gte_ray.cli.store_tables import print_store
    from gte_ray.data.ids import unknown_words

    print_store(console, store)
    if store.manifest.tokenizer is not None:
        names = [source.name for source in store.manifest.sources]
        for warning in unknown_words(store, store.load_tokenizer(), names):
            console.print(f"warning: {warning}", style="yellow")
    empty = [source.name for source in store.manifest.sources if source.rows == 0]
    if empty:
        console.print(f"warning: no pair to train on in {', '.join(empty)}", style="yellow")


if __name__ == "__main__":
    run_command(main)
