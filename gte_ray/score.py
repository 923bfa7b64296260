"""python -m gte_ray.score: puts a teacher's scores beside the pairs of a store and their hard negatives."""

from dataclasses import dataclass
from functools import partial

import tyro

from gte_ray.cli.console import plain_console, run_command
from gte_ray.cli.model_flags import FlatModelFlags, ModelFlags
from gte_ray.errors import UsageError
from gte_ray.runtime.cluster import want_ray


@dataclass(frozen=True)
class Arguments:
    """Writes a pair store again, with a teacher's scores of its pairs and their hard negatives, which finetune learns from
    with --teacher-weight. Finished sources are not scored again."""

    store: tyro.conf.Positional[str]
    """Folder or URI of the pair store."""
    out: tyro.conf.Positional[str]
    """Folder or URI of the store with scores."""
    model: str
    """The teacher: a folder of a cross-encoder or of an embedding model, a folder at a URI, or a Hugging Face id."""
    margin: float = float("-inf")
    """Keep the negatives that it scores at least this much lower than the pair itself: others may be positives. All
    negatives stay if neither this nor the next is given."""
    relative_margin: float = float("-inf")
    """The same as a share of the pair's score: 0.05 for at most 95 % of it."""
    sources: tuple[str, ...] = ()
    """Names of the sources to score; empty for all. Other sources in the new store stay."""
    computing: FlatModelFlags = ModelFlags()
    verbose: bool = False
    """Show Ray's logs."""


def main() -> None:
    arguments = tyro.cli(Arguments, prog="python -m gte_ray.score")
    arguments.computing.check()
    if len(set(arguments.sources)) < len(arguments.sources):
        raise UsageError(f"--sources is {' '.join(arguments.sources)!r}; allowed is each source once")
    from gte_ray.cli.progress import PreparingProgress
    from gte_ray.cli.store_tables import print_store
    from gte_ray.data.store import open_store
    from gte_ray.mining.score_store import Margins, score
    from gte_ray.model.cross_encoder import load_scorer
    from gte_ray.runtime import storage

    margins = Margins(arguments.margin, arguments.relative_margin)
    store, model = open_store(storage.absolute(arguments.store)), storage.absolute_folder(arguments.model, "")
    storage.check_reachable(arguments.out)
    console = plain_console()
    prompts = arguments.computing.prompts
    _, notes = load_scorer(model, prompts=prompts)
    for note in notes:
        console.print(f"warning: {note}", style="yellow", soft_wrap=True)
    want_ray(arguments.computing.cpus, arguments.verbose)
    with PreparingProgress(console) as progress:
        scored = score(
            store,
            arguments.out,
            model,
            margins,
            arguments.computing.pool(),
            sources=arguments.sources,
            prompts=prompts,
            report=progress.report,
            tell=partial(console.print, soft_wrap=True),
        )
    print_store(console, scored)


if __name__ == "__main__":
    run_command(main)
