"""Types of the config's fields: numbers with what they may be, and values that parse themselves."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import tyro
from annotated_types import Ge, Gt, Le, Lt, MinLen

from gte_ray.config.typed import Allowed, Parsed
from gte_ray.errors import UsageError

Direction = Literal["q2d", "q2q", "d2q", "d2d"]
Precision = Literal["fp32", "bf16", "fp16"]
Schedule = Literal["linear", "cosine", "wsd"]
TeacherLoss = Literal["kl", "margin-mse"]
Pooling = Literal["mean", "cls", "last"]
"""Which states of a text's tokens make its embedding: their mean, the first token's, or the last one's."""

IMPROVED: tuple[Direction, ...] = ("q2d", "q2q", "d2q", "d2d")
"""The four sums of the partition function of eq. 6, in the order in which it prints them."""

Count = Annotated[int, Ge(1)]
FromZero = Annotated[float, Ge(0)]
Positive = Annotated[float, Gt(0)]
Share = Annotated[float, Ge(0), Lt(1), Allowed("from 0 up to, not including, 1")]
Place = Annotated[str, MinLen(1), Allowed("a folder or URI")]
Base = Annotated[str, MinLen(1), Allowed("a Hugging Face id, a folder, or scratch")]
ZeroStage = Annotated[
    int,
    Ge(0),
    Le(1),
    Allowed(
        "0 or 1: stages 2 and 3 reduce gradients at each backward pass, so workers with unequal numbers "
        "of micro-batches would wait for each other for ever"
    ),
]

HELD_OUT = "heldout"
ALLOWED_EVALUATION = (
    f"BOARD@STEPS, with {HELD_OUT}, mteb-en, beir, codesearchnet, sst2 or a folder in BEIR's layout, and a multiple of "
    "checkpoint-every"
)
"""What a run may be scored on while it trains."""


@dataclass(frozen=True, repr=False)
class Workers(Parsed):
    """A number of training processes, written `4`, or as many as there is room for, written `2:8`."""

    fewest: int
    most: int

    @classmethod
    def exactly(cls, number: int) -> Self:
        return cls(number, number)

    @classmethod
    def parse(cls, text: str) -> Self:
        match = re.fullmatch(r"([0-9]+)(?::([0-9]+))?", text)
        if not match or not 1 <= int(match[1]) <= int(match[2] or match[1]):
            raise ValueError("a number of at least 1, or the fewest and the most as in 2:8")
        return cls(int(match[1]), int(match[2] or match[1]))

    @property
    def elastic(self) -> bool:
        return self.fewest < self.most

    def __str__(self) -> str:
        return f"{self.most}" if self.fewest == self.most else f"{self.fewest}:{self.most}"


@dataclass(frozen=True, repr=False)
class Evaluation(Parsed):
    """A scoreboard and after how many steps each the weights are scored on it, written `heldout@1000`."""

    scoreboard: str = ""
    """`heldout`, or a benchmark that `evaluate` takes; empty, as `every` is 0, for no scores but those of the last step."""
    every: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        scoreboard, _, every = text.rpartition("@")
        if text and not (scoreboard and re.fullmatch("[1-9][0-9]*", every)):
            raise ValueError(ALLOWED_EVALUATION)
        return cls(scoreboard, int(every or 0))

    def __str__(self) -> str:
        return f"{self.scoreboard}@{self.every}" if self.every else ""


def flag(name: str, kind: type[Parsed], metavar: str) -> tyro.constructors.PrimitiveConstructorSpec:
    """How a field of type `kind` is read from the command line; UsageError where it cannot be."""

    def parse(texts: list[str]) -> Parsed:
        try:
            return kind.parse(texts[0])
        except ValueError as error:
            raise UsageError(f"--{name} is {texts[0]!r}; allowed is {error}") from error

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=parse,
        is_instance=lambda value: isinstance(value, kind),
        str_from_instance=lambda value: [str(value)],
    )


def renamed(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config that an older version saved with the fields that have other names now."""
    model = config.get("model")
    if not isinstance(model, dict) or "dropout" not in model:
        return config
    both = {"hidden_dropout": model["dropout"], "attention_dropout": model["dropout"]}
    return {**config, "model": both | model}
