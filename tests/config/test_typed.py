"""Dataclasses from plain values: what does not fit is named by its place, and constructing one checks nothing."""

import json
from dataclasses import dataclass
from typing import Annotated

import pytest
from annotated_types import Ge, Le

from gte_ray.config.fields import Workers
from gte_ray.config.typed import Allowed, Misfit, plain, read


@dataclass(frozen=True)
class Leaf:
    size: Annotated[int, Ge(1), Le(9)]
    share: Annotated[float, Ge(0), Allowed("a share")] = 0.5


@dataclass(frozen=True)
class Tree:
    leaves: tuple[Leaf, ...]
    workers: Workers = Workers.exactly(3)
    notes: str = ""


@dataclass(frozen=True)
class Closed:
    tree: Tree | None = None
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012


def test_what_is_written_is_read():
    tree = Tree((Leaf(1), Leaf(2, 0.25)))
    assert plain(tree)["workers"] == "3"
    assert read(Tree, json.loads(json.dumps(plain(tree)))) == tree
    assert read(tuple[Leaf, ...], [{"size": 1}]) == (Leaf(1),)


def test_constructing_checks_nothing():
    assert Leaf(0).size == 0
    with pytest.raises(Misfit):
        read(Leaf, plain(Leaf(0)))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({}, "leaves is missing"),
        ({"leaves": [{"size": 1}, {"size": 0}]}, "leaves.1.size is 0; allowed is a number of at least 1"),
        ({"leaves": [{"size": 10}]}, "leaves.0.size is 10; allowed is a number of at most 9"),
        ({"leaves": [{"size": 1, "share": -1}]}, "leaves.0.share is -1; allowed is a share"),
        (
            {"leaves": [], "workers": "x"},
            "workers is 'x'; allowed is a number of at least 1, or the fewest and",
        ),
        ({"leaves": [], "notes": ["n" * 500]}, f"notes is ['{'n' * 198}…; allowed is a valid string"),
        (3, "is 3; allowed is a dictionary or an instance of Tree"),
    ],
)
def test_the_first_misfit_is_named(value, sentence):
    with pytest.raises(Misfit) as caught:
        read(Tree, value)
    assert str(caught.value).startswith(sentence)


def test_unknown_fields_are_passed_over_or_forbidden():
    value = {"leaves": [], "newer": 1}
    assert read(Tree, value) == Tree(())
    with pytest.raises(Misfit, match=r"^tree.newer is unknown$"):
        read(Closed, {"tree": value})
