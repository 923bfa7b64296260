"""What an ablation is: rows of a table, each a whole config, and a claim about them that can fail."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from gte_ray.config import Config
from gte_ray.errors import UsageError
from gte_ray.recipes import finetuning, gte_base, tiny

PROFILES = ("laptop", "paper")


@dataclass(frozen=True)
class Setting:
    """Where an ablation runs: what its rows may depend on."""

    profile: str
    """One of PROFILES."""
    sources: dict[str, int]
    """Pairs for training of each source in the store."""
    finetuning_store: str = ""
    """Pair store with hard negatives, for rows that fine-tune; empty where none is named."""
    finetuning_sources: dict[str, int] = field(default_factory=dict)
    """Pairs for training of each of its sources."""

    @property
    def is_paper(self) -> bool:
        return self.profile == "paper"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    """As the paper's table has it."""
    config: Config
    paper: float | None = None
    """The paper's average on MTEB in percent; None where it prints no number."""
    x: float | None = None
    """Place on the plot's axis; None for a category."""
    step: int | None = None
    """Steps after which the scores are taken; None for all of them."""
    first: Config | None = None
    """The stage before: the row then starts from the model that this run makes, instead of its own base."""
    series: str = ""
    """Rows of one series are joined in the plot."""


@dataclass(frozen=True)
class Comparison:
    """What the claim says of two rows, by their names."""

    row: str
    other: str
    relation: Literal["better than", "no better than"]


@dataclass(frozen=True)
class Ablation:
    """A table or figure of the paper, or a question of our own."""

    title: str
    """Table or figure, such as "Table 10"; "ours" for what the paper does not have."""
    question: str
    claim: str
    """The paper's finding, or what we expect, in one sentence."""
    rows: Callable[[Config, Setting], list[Row]]
    """Rows from the profile's baseline, in the paper's order."""
    comparisons: Callable[[Sequence[str]], list[Comparison]]
    """From the rows' names to the comparisons that all have to hold for the claim to hold."""
    axis: str
    """What the rows differ in, with its unit: the label of the plot's axis."""
    logarithmic: bool = False
    curves: bool = False
    """Whether the training losses of all rows are drawn too (Figure 4)."""
    finetunes: bool = False
    """Whether some rows fine-tune, so that a store with hard negatives is needed."""


def baseline(profile: str, store: str) -> Config:
    """The run that all rows of all ablations start from, so that they share it; UsageError if unknown.

    `laptop` is the tiny recipe with 100 steps, as many of them for the warm-up; `paper` is BERT-base as in
    section 5. Both are scored five times.
    """
    if profile not in PROFILES:
        raise UsageError(f"--profile is {profile!r}; allowed are {', '.join(PROFILES)}")
    config = tiny(store) if profile == "laptop" else gte_base(store)
    steps = 100 if profile == "laptop" else config.training.steps
    warmup = config.training.warmup * config.training.steps / steps
    return replace(
        config,
        training=replace(config.training, steps=steps, warmup=warmup),
        run=replace(config.run, checkpoint_every=steps // 5, eval=f"heldout@{steps // 5}"),
    )


def finetuning_baseline(base: Config, setting: Setting, sources: Sequence[str] = ()) -> Config:
    """The fine-tuning that follows the pre-training `base` (section 3.4), on `sources` or on all.

    It starts from the same weights as `base`; a row names `base` as its first stage to go on from there.
    """
    if not setting.finetuning_store:
        raise UsageError("this ablation fine-tunes: it needs --finetuning-store, a store with hard negatives")
    pairs = sum(setting.finetuning_sources[name] for name in sources or setting.finetuning_sources)
    config = finetuning(base.recipe, setting.finetuning_store, base.model.base, pairs)
    steps = config.training.steps if setting.is_paper else base.training.steps
    return replace(
        config,
        data=replace(config.data, sources=tuple(sources)),
        training=replace(config.training, steps=steps),
        hardware=base.hardware,
        run=replace(base.run, eval=""),
        seed=base.seed,
    )


def best(row: str) -> Callable[[Sequence[str]], list[Comparison]]:
    """The claim that one row is better than each of the others."""
    return lambda names: [Comparison(row, name, "better than") for name in names if name != row]


def more_is_better(names: Sequence[str]) -> list[Comparison]:
    """The claim that each row is better than the one before it."""
    return [Comparison(row, before, "better than") for before, row in itertools.pairwise(names)]
