"""python -m gte_ray.mine: finds hard negatives for the pairs of a store (paper, section 3.3)."""

from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Literal

import tyro

from gte_ray.cli.console import plain_console, run_command
from gte_ray.cli.model_flags import FlatModelFlags, ModelFlags
from gte_ray.errors import UsageError
from gte_ray.runtime.cluster import want_ray

if TYPE_CHECKING:
    from gte_ray.mining.choose import Window


@dataclass(frozen=True)
class Arguments:
    """Writes a pair store again, with hard negatives for its pairs. Finished sources are not mined again."""

    store: tyro.conf.Positional[str]
    """Folder or URI of the pair store."""
    out: tyro.conf.Positional[str]
    """Folder or URI of the store with negatives."""
    model: str
    """What finds negatives: a folder of an embedding model, a folder at a URI, a Hugging Face id, or bm25."""
    negatives: int = 15
    """Most negatives of a pair. Training with a group of 16 uses 15 at a time."""
    first_rank: int = 10
    """Rank of the first candidate in the list of a query's documents, known positives left out. Documents
    before it may be positives that are not labelled."""
    last_rank: int = 100
    """Rank of the last candidate."""
    margin: float = float("-inf")
    """The score of a negative has to be at least this much lower than the score of the pair itself."""
    relative_margin: float = float("-inf")
    """The same as a share of that score: 0.05 for at most 95 % of it, as in NV-Retriever."""
    sampling: Literal["random", "top"] = "random"
    """Whether negatives are drawn among the candidates, or are the best of them."""
    corpus: str = ""
    """Files of passages in which negatives are found besides the documents of each source; a pattern, as of a source."""
    corpus_text: str = "text"
    """What is the text of a row of these files: a field, or a template such as '{title}. {text}'."""
    corpus_columns: tuple[str, ...] = ()
    """Names of the columns of CSV and TSV files that have no line of names, such as: id text."""
    answers: str = ""
    """Files of questions and their answers, as open question answering has them; a pattern, as of a source. A document that
    has an answer of its query, as words in a row, is no negative of it."""
    answers_query: str = "question"
    """What of a row of these files is the query; a field, or a template, that makes the text that the source has."""
    answers_text: str = "answers[]"
    """What are its answers."""
    sources: tuple[str, ...] = ()
    """Names of the sources to mine; empty for all. Other sources in the new store stay."""
    seed: int = 0
    """Seed of the choice among the candidates."""
    computing: FlatModelFlags = ModelFlags()
    verbose: bool = False
    """Show Ray's logs."""


def main() -> None:
    arguments = tyro.cli(Arguments, prog="python -m gte_ray.mine")
    window = _window(arguments)
    from gte_ray.cli.progress import PreparingProgress
    from gte_ray.cli.store_tables import print_store
    from gte_ray.data.store import open_store
    from gte_ray.mining.answers import list_answers
    from gte_ray.mining.corpus import list_corpus
    from gte_ray.mining.mine_store import mine
    from gte_ray.model.load import check_model
    from gte_ray.retrieval.bm25 import BM25
    from gte_ray.runtime import storage

    store = open_store(storage.absolute(arguments.store))
    model = storage.absolute_folder(arguments.model, BM25)
    storage.check_reachable(arguments.out)
    corpus = None
    if arguments.corpus:
        corpus = list_corpus(arguments.corpus, arguments.corpus_text, arguments.corpus_columns)
    answers = None
    if arguments.answers:
        answers = list_answers(arguments.answers, arguments.answers_query, arguments.answers_text)
    console, prompts = plain_console(), arguments.computing.prompts
    for note in check_model(model, prompts=prompts) if model != BM25 else ():
        console.print(f"warning: {note}", style="yellow", soft_wrap=True)
    want_ray(arguments.computing.cpus, arguments.verbose)
    with PreparingProgress(console) as progress:
        mined = mine(
            store,
            arguments.out,
            model,
            window,
            arguments.computing.pool(),
            sources=arguments.sources,
            prompts=prompts,
            corpus=corpus,
            answers=answers,
            report=progress.report,
            tell=partial(console.print, soft_wrap=True),
        )
    print_store(console, mined)
    bare = [source.name for source in mined.manifest.sources if source.rows and not source.negatives]
    if bare:
        console.print(f"warning: no hard negative was found in {', '.join(bare)}", style="yellow")


def _window(arguments: Arguments) -> "Window":
    """What the arguments say of the negatives. Raises UsageError for an argument that is out of range."""
    arguments.computing.check()
    if len(set(arguments.sources)) < len(arguments.sources):
        raise UsageError(f"--sources is {' '.join(arguments.sources)!r}; allowed is each source once")
    from gte_ray.mining.choose import Window

    return Window(**{field.name: getattr(arguments, field.name) for field in fields(Window)})


if __name__ == "__main__":
    run_command(main)
