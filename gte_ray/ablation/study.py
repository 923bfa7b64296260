"""Definition of an ablation: rows of a table, each a whole config, and a claim about them that can fail."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from gte_ray.cli.flags import WARM_MODEL
from gte_ray.config import Config
from gte_ray.config.fields import Evaluation
from gte_ray.errors import UsageError
from gte_ray.recipes import finetuning
from gte_ray.recipes.paper import gte_base, tiny

PROFILES = ("laptop", "warm", "paper")


@dataclass(frozen=True)
class Setting:
    """Profile and data of an ablation: all that its rows may depend on besides the baseline."""

    profile: str
    """One of PROFILES."""
    sources: dict[str, int]
    """Number of training pairs of each source in the store."""
    finetuning_store: str = ""
    """Pair store with hard negatives, for rows that fine-tune; empty if none is given."""
    finetuning_sources: dict[str, int] = field(default_factory=dict)
    """Number of training pairs of each source in `finetuning_store`."""

    @property
    def is_paper(self) -> bool:
        return self.profile == "paper"

    @property
    def is_warm(self) -> bool:
        """Whether rows start from a language model of the laptop's size."""
        return self.profile == "warm"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    """Name as in the paper's table."""
    config: Config
    paper: float | None = None
    """The paper's average on MTEB in percent; None if it prints no number."""
    x: float | None = None
    """Position on the plot's axis; None for a category."""
    step: int | None = None
    """Number of steps after which the scores are taken; None for all of them."""
    first: Config | None = None
    """Config of the previous stage: the row starts from that run's model instead of its own base."""
    series: str = ""
    """Rows of one series are joined in the plot."""
    paper_parts: Mapping[str, float] = field(default_factory=dict)
    """What else the paper prints of it in percent, by category of MTEB."""


@dataclass(frozen=True)
class Comparison:
    """The relation that the claim states between two rows, by their names."""

    row: str
    other: str
    relation: Literal["better than", "no better than"]


@dataclass(frozen=True)
class Ablation:
    """A table or figure of the paper, or a question of our own."""

    title: str
    """Table or figure, such as "Table 10"; "ours" if the paper has none."""
    question: str
    claim: str
    """The paper's finding, or what we expect, in one sentence."""
    rows: Callable[[Config, Setting], list[Row]]
    """Returns the rows for the profile's baseline, in the paper's order."""
    comparisons: Callable[[Sequence[str]], list[Comparison]]
    """Returns, for the rows' names, the comparisons that must all hold for the claim to hold."""
    axis: str
    """Quantity in which the rows differ, with its unit: the label of the plot's axis."""
    logarithmic: bool = False
    curves: bool = False
    """Whether to plot the training losses of all rows too (Figure 4)."""
    finetunes: bool = False
    """Whether some rows fine-tune, so that a store with hard negatives is needed."""
    profiles: Sequence[str] = PROFILES
    """Those for which it has rows."""


def baseline(profile: str, store: str) -> Config:
    """Return the config that all rows of all ablations derive from, so that they share its run.

    `laptop` is the tiny recipe with 100 steps and the recipe's number of warm-up steps; `warm` is the same from a
    language model in place of random weights; `paper` is BERT-base as in section 5. All are scored five times. Raises
    UsageError for an unknown profile.
    """
    if profile not in PROFILES:
        raise UsageError(f"--profile is {profile!r}; allowed are {', '.join(PROFILES)}")
    config = gte_base(store) if profile == "paper" else tiny(store)
    steps = config.training.steps if profile == "paper" else 100
    if profile == "warm":
        config = replace(config, model=replace(config.model, base=WARM_MODEL))
    warmup = config.training.warmup * config.training.steps / steps
    return replace(
        config,
        training=replace(config.training, steps=steps, warmup=warmup),
        run=replace(config.run, checkpoint_every=steps // 5, eval=Evaluation("heldout", steps // 5)),
    )


def finetuning_baseline(base: Config, setting: Setting, sources: Sequence[str] = ()) -> Config:
    """Return the fine-tuning that follows the pre-training `base` (section 3.4), on `sources` or on all.

    It starts from the same weights as `base`. To start from the pre-trained model, a row has `base` as its
    first stage. Raises UsageError if there is no fine-tuning store.
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
        run=replace(base.run, eval=Evaluation()),
        seed=base.seed,
    )


def best(row: str) -> Callable[[Sequence[str]], list[Comparison]]:
    """Return the claim that one row is better than each of the others."""
    return lambda names: [Comparison(row, name, "better than") for name in names if name != row]


def more_is_better(names: Sequence[str]) -> list[Comparison]:
    """Return the claim that each row is better than the previous one."""
    return [Comparison(row, before, "better than") for before, row in itertools.pairwise(names)]
