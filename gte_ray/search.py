"""python -m gte_ray.search: the documents of a store that are nearest to a query, as one types it."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gte_ray.cli.console import plain_console, run_command
from gte_ray.cli.flags import BUILTIN_STORE
from gte_ray.errors import UsageError

if TYPE_CHECKING:
    from gte_ray.evaluation.lookup import Hit, Lookup


@dataclass(frozen=True)
class Arguments:
    """Shows the documents of a store that a model finds nearest to a query, and those that BM25 finds. Queries are
    typed, or read line by line; an empty one ends."""

    model: tyro.conf.Positional[str]
    """Folder of an embedding model, a folder at a URI, or a Hugging Face id."""
    store: str = BUILTIN_STORE
    """Pair store with the documents."""
    sources: tuple[str, ...] = ()
    """Names of the sources whose documents are searched; empty for all."""
    documents: int = 10_000
    """Most documents of a source: held-out ones first, then a random sample of the others."""
    query: tuple[str, ...] = ()
    """Queries, instead of asking for them."""
    top: int = 5
    """Documents that are shown."""
    gpu: bool = False
    """Whether to encode on a GPU, in fp16."""
    threads: int = 2
    """CPU threads."""
    micro_batch_tokens: int = 16_384
    """Tokens per forward pass."""


def main() -> None:
    arguments = tyro.cli(Arguments, prog="python -m gte_ray.search")
    for name in ("documents", "top", "threads", "micro_batch_tokens"):
        if getattr(arguments, name) < 1:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} is {getattr(arguments, name)}; allowed is at least 1")
    console = plain_console()
    lookup = _lookup(arguments, console)
    from gte_ray.evaluation.scoreboard import labels

    label = labels((arguments.model,))[arguments.model]
    for query in arguments.query or _typed(console):
        if arguments.query:
            console.print(f"query: {query}", soft_wrap=True)
        console.print(_table(label, lookup.by_model(query, arguments.top)))
        console.print(_table("BM25", lookup.by_bm25(query, arguments.top)))


def _lookup(arguments: Arguments, console: Console) -> "Lookup":
    """Loads the model and encodes the documents. Raises RunError or UsageError in one sentence."""
    import torch

    from gte_ray.cli.progress import PreparingProgress
    from gte_ray.data.store import open_store
    from gte_ray.evaluation.lookup import Lookup, read_corpus
    from gte_ray.model.load import load_model

    torch.set_num_threads(arguments.threads)
    store = open_store(arguments.store)
    corpus = read_corpus(store, arguments.sources, arguments.documents)
    if not corpus.documents:
        raise UsageError(f"{arguments.store}: has no document to search")
    model = load_model(arguments.model, "cuda" if arguments.gpu else "cpu", half=arguments.gpu)
    for note in model.notes:
        console.print(f"warning: {note}", style="yellow", soft_wrap=True)
    with PreparingProgress(console) as progress:
        lookup = Lookup(
            corpus,
            model,
            arguments.micro_batch_tokens,
            lambda texts: progress.report("encoding documents", texts),
        )
    searched, there = set(corpus.sources), sum(info.rows for info in store.manifest.sources)
    console.print(
        f"{len(corpus.documents):,} different documents of {len(searched)} source(s), of a store of {there:,} pairs"
    )
    return lookup


def _typed(console: Console) -> Iterator[str]:
    """Queries as they are typed at a terminal, or the lines that are piped in."""
    while True:
        try:
            query = console.input("query: ") if sys.stdin.isatty() else input()
        except EOFError:
            return
        if not query.strip():
            return
        if not sys.stdin.isatty():
            console.print(f"query: {query}", soft_wrap=True)
        yield query


def _table(title: str, hits: "Sequence[Hit]") -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, expand=True)
    table.add_column("score", justify="right", no_wrap=True, min_width=6)
    table.add_column("source", no_wrap=True, min_width=max((len(hit.source) for hit in hits), default=6))
    table.add_column("document", no_wrap=True, overflow="ellipsis", ratio=1)
    for hit in hits:
        table.add_row(f"{hit.score:.3f}", hit.source, " ".join(hit.document.split()))
    return table


if __name__ == "__main__":
    run_command(main)
