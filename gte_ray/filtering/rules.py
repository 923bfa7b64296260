"""Which pairs leave a store."""

from collections.abc import Collection
from dataclasses import dataclass

from gte_ray.data.store import Store
from gte_ray.errors import UsageError
from gte_ray.pretrained.prompts import AS_THE_MODEL, GivenPrompts

LEAST_SIMILAR, MOST_SIMILAR = 0.5, 0.95
"""Below, most documents that share a band of their signatures are not alike; above, a band is a whole signature."""


@dataclass(frozen=True)
class Rules:
    """Which pairs leave a store. Raises UsageError for settings out of range."""

    unique: bool = False
    """Whether a pair stays in one source alone."""
    near_duplicates: float = 0.0
    """Similarity from which the later of two documents leaves; 0 for no such rule. See `near`."""
    priority: tuple[str, ...] = ()
    """The sources that keep such pairs and documents first; the others follow in the store's order."""
    model: str = ""
    """What finds the documents: what `load_model` takes, or BM25; empty for no such rule."""
    among_first: int = 2
    """Most documents, its own included, that a query may find before its own is too far."""
    sample: int = 1_000_000
    """Most pairs of a sample."""
    prompts: GivenPrompts = AS_THE_MODEL
    """Prompts in place of the model's own."""

    def __post_init__(self) -> None:
        if not (self.compares or self.model):
            raise UsageError("at least one of --unique, --near-duplicates and --consistent is needed")
        if self.priority and not self.compares:
            raise UsageError(
                "--priority says which source keeps a pair with --unique or --near-duplicates; give one of them too"
            )
        if self.near_duplicates and not LEAST_SIMILAR <= self.near_duplicates <= MOST_SIMILAR:
            raise UsageError(
                f"--near-duplicates is {self.near_duplicates:g}; allowed is {LEAST_SIMILAR} to {MOST_SIMILAR}, or 0 for no "
                "such rule"
            )
        given = (self.among_first, self.sample, self.prompts)
        if not self.model and given != (Rules.among_first, Rules.sample, Rules.prompts):
            raise UsageError(
                "--among-first, --sample and prompts are of the model of --consistent; give that too"
            )
        for flag, value in (("--among-first", self.among_first), ("--sample", self.sample)):
            if value < 1:
                raise UsageError(f"{flag} is {value}; allowed is at least 1")

    @property
    def compares(self) -> bool:
        """Whether pairs of several sources are compared."""
        return self.unique or bool(self.near_duplicates)

    def order(self, store: Store, chosen: Collection[str]) -> tuple[str, ...]:
        """The store's sources, those that keep their pairs first: those that are not `chosen` to lose any, then by priority.

        Raises RunError for one that the store does not have.
        """
        names = [source.name for source in store.manifest.sources]
        first = [info.name for info in store.chosen(self.priority)] if self.priority else []
        return tuple(dict.fromkeys([*(name for name in names if name not in chosen), *first, *names]))
