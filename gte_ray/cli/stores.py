"""The default stores and the default start of commands, which are made from the built-in corpus when first needed."""

from dataclasses import replace

from rich.console import Console

from gte_ray.cli.flags import BUILTIN_STORE, HARD_STORE, WARM_MODEL
from gte_ray.config import Config
from gte_ray.recipes import WARM_BATCH, WARM_RATE, WARM_STEPS, recipe, warming
from gte_ray.runtime.cluster import start_ray


def ensure_store(config: Config, console: Console, verbose: bool) -> None:
    """Prepares the built-in corpus if `config` uses it and it does not exist yet. Starts Ray for that."""
    from gte_ray.cli.progress import PreparingProgress
    from gte_ray.data.builtin import prepare_builtin
    from gte_ray.data.ids import Ids
    from gte_ray.data.manifest import MANIFEST
    from gte_ray.runtime import storage

    if config.data.store != BUILTIN_STORE or storage.exists(storage.join(BUILTIN_STORE, MANIFEST)):
        return
    start_ray(config.cpus, verbose)
    console.print(f"preparing the built-in corpus in {config.data.store}, once")
    ids = Ids(vocabulary=config.model.vocab_size, max_length=config.data.max_length)
    with PreparingProgress(console) as progress:
        prepare_builtin(config.data.store, ids, progress.report)


def ensure_hard_store(store: str, config: Config, console: Console, verbose: bool) -> bool:
    """Mines hard negatives for the built-in corpus with BM25 if `store` is HARD_STORE and does not exist yet.

    Returns whether it did. Prepares the corpus and starts Ray if needed.
    """
    from gte_ray.cli.progress import PreparingProgress
    from gte_ray.data.manifest import MANIFEST
    from gte_ray.data.store import open_store
    from gte_ray.mining.choose import Window
    from gte_ray.mining.mine_store import mine
    from gte_ray.retrieval.bm25 import BM25
    from gte_ray.runtime import storage
    from gte_ray.runtime.pool import Pool

    if store != HARD_STORE or storage.exists(storage.join(HARD_STORE, MANIFEST)):
        return False
    ensure_store(replace(config, data=replace(config.data, store=BUILTIN_STORE)), console, verbose)
    start_ray(config.cpus, verbose)
    console.print(f"finding hard negatives in the built-in corpus for {HARD_STORE}, once")
    with PreparingProgress(console) as progress:
        source = open_store(storage.absolute(BUILTIN_STORE))
        mine(source, HARD_STORE, BM25, Window(), Pool(), report=progress.report)
    return True


def ensure_warm_model(config: Config, console: Console) -> None:
    """Makes a language model of the built-in corpus, whose store is there, if `config` starts from it and it is not."""
    from gte_ray.runtime import storage

    if config.model.base != WARM_MODEL or storage.exists(storage.join(WARM_MODEL, "modules.json")):
        return
    tiny = recipe("tiny", BUILTIN_STORE)
    make_warm_model(warming(tiny, WARM_STEPS, WARM_BATCH, WARM_RATE, tiny.seed), WARM_MODEL, console)


def make_warm_model(config: Config, to: str, console: Console) -> None:
    """Trains it, with a line now and then."""
    from gte_ray.runs.warm import warm_up  # the import takes seconds

    steps = config.training.steps
    console.print(f"training a language model of {config.data.store}: {steps:,} steps", soft_wrap=True)

    def report(step: int, loss: float) -> None:
        if (step + 1) % max(steps // 10, 1) == 0:
            console.print(f"step {step + 1:,}/{steps:,}  loss of hidden tokens {loss:.3f}")

    warm_up(_with_ids_of_store(config), to, report)


def _with_ids_of_store(config: Config) -> Config:
    """With texts no longer than the token ids of the store."""
    from gte_ray.data.store import open_store

    stored = open_store(config.data.store).manifest.tokenizer
    longest = config.data.max_length if stored is None else min(stored.max_length, config.data.max_length)
    return replace(config, data=replace(config.data, max_length=longest))
