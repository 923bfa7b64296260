"""Rows of a source that get a field from other files, by a key: a question its answer, a citation its paper."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from gte_ray.errors import RunError, UsageError
from gte_ray.readers.dataset_folder import WHOLE, Chosen
from gte_ray.readers.input_files import Globs
from gte_ray.readers.paths import ROW, template
from gte_ray.readers.reading import SHAPES, Reading
from gte_ray.readers.values import NOT_A_PAIR, Dropped, Item, Unused

Row = dict[str, Any]
AnyRow = TypeVar("AnyRow")
"""A row, or its text."""


@dataclass(frozen=True)
class Join:
    """A field `name` of each row: the row of `files` whose `key` is this row's `on`. Raises UsageError for bad settings.

    Keys are compared as texts. Rows without a partner are dropped and counted.
    """

    name: str
    files: Globs
    """Pattern of the other files, or several."""
    on: str
    """Path of the key in the source's rows. A list joins the row once for each of its items."""
    key: str
    """Path of the key in the rows of the other files."""
    best: str = ""
    """Path of a number: of several rows with one key that with the highest is taken; empty for the first."""
    exclude: str = ""
    """Pattern of names of files that are left out."""
    reading: Reading = field(default_factory=Reading)
    """How the other files are read, and which of their rows."""
    chosen: Chosen = WHOLE
    """Which part of a data set, if `files` is the folder of one."""

    def __post_init__(self) -> None:
        for name in SHAPES:
            if getattr(self.reading, name):
                raise UsageError(f"{name} is no setting of a join; name its fields as {self.name}.FIELD")
        for path in filter(None, (self.on, self.key, self.best)):
            template(path)

    @property
    def other_rows(self) -> Reading:
        """A `Reading` of the other files whose pairs are (row, key)."""
        return replace(self.reading, query=ROW, document=self.key)

    def these_rows(self, reading: Reading, where: str) -> Reading:
        """A `Reading` of the source's files, which `reading` reads, whose pairs are (row, key)."""
        nothing: dict[str, Any] = dict.fromkeys(SHAPES, "")
        return replace(reading, **nothing | {"query": ROW, "document": self.on, "where": where})

    def rank(self, row: Row) -> float:
        """What one of the other rows is worth among those of its key; less than all numbers if it has none."""
        if not self.best:
            return 0.0
        try:
            found = float(template(self.best)(row))
        except (TypeError, ValueError):
            return -math.inf
        return -math.inf if math.isnan(found) else found

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides what is joined."""
        given = {name: getattr(self, name) for name in ("name", "files", "on", "key", "best", "exclude")}
        chosen = {"chosen": self.chosen} if self.chosen != WHOLE else {}
        return given | {"reading": self.reading.given} | chosen


def keyed(items: Iterable[Item], path: str, name: str, place: str) -> Iterator[tuple[str, Row] | Dropped]:
    """Yields the rows of `items`, pairs of (row, key by `path`), with their keys as texts; others as dropped.

    `name` is the field that the rows are to get. Raises RunError, with the `place`, if they have one of that name.
    """
    for item in items:
        if isinstance(item, Unused):
            continue
        if isinstance(item, Dropped):
            yield item
            continue
        row, key = item.query, _key(item.document)
        if not isinstance(row, dict):
            yield NOT_A_PAIR.of(row)
        elif name and name in row:
            raise RunError(f"{place}: rows have a field {name!r} already; give the join another name")
        else:
            yield (key, row) if key and template(path).has_all(row) else without(name).of(row)


def without(name: str) -> Dropped:
    """The reason for which rows are dropped that have no key, or whose key no other row has."""
    return Dropped(f"without {name}")


def best_rows(rows: Iterable[tuple[str, AnyRow, float]]) -> dict[str, AnyRow]:
    """Of (key, row, rank) the row of the highest rank for each key, the first of those that are equal."""
    found: dict[str, tuple[float, AnyRow]] = {}
    for key, row, rank in rows:
        if key not in found or rank > found[key][0]:
            found[key] = rank, row
    return {key: row for key, (_, row) in found.items()}


def _key(value: Any) -> str:
    """The text of a key; empty for what is none. Whole numbers that pandas has made 7.0 of are 7 again."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
