"""How the rows of a source become pairs, where the user says so and nothing is to be chosen by names."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gte_ray.data.columns import may_be_read
from gte_ray.data.paths import Rows, Template, template
from gte_ray.data.values import Dropped, Unused
from gte_ray.data.where import Condition, condition
from gte_ray.errors import UsageError

OTHERWISE = Dropped("not as where says")
MOST_UNUSED = 1_000
"""Maximum number of unread columns of a file that are counted."""


@dataclass(frozen=True)
class Reading:
    """Settings of a source beyond its files. Raises UsageError for one that cannot be followed."""

    query: str = ""
    """Column, path or template of the queries; empty to choose columns by their names."""
    document: str = ""
    """The same of the documents. A list gives a pair for each."""
    negatives: str = ""
    """The same of the hard negatives: a text or a list."""
    rows: str = ""
    """Path to the rows inside each value of a file, or inside the one value that a JSON file is."""
    where: str = ""
    """Condition on rows; others are dropped and counted."""
    columns: tuple[str, ...] = ()
    """Names of the columns of CSV and TSV files that have no line of names."""
    encoding: str = ""
    """Of text files; empty for UTF-8, or what a byte order mark says."""
    delimiter: str = ""
    """Of CSV and TSV files; empty to detect it."""

    def __post_init__(self) -> None:
        if bool(self.query) != bool(self.document) or (self.query and self.query == self.document):
            raise UsageError(
                f"query and document are {self.query!r} and {self.document!r}; allowed are two different ones, or none"
            )
        if self.negatives and not self.query:
            raise UsageError("negatives are named, but not query and document; name all of them")
        if self.encoding:
            try:
                "".encode(self.encoding)
            except LookupError as error:
                raise UsageError(
                    f"encoding is {self.encoding!r}; allowed is one that Python knows, such as latin-1"
                ) from error
        if self.delimiter and len(self.delimiter) != 1:
            raise UsageError(f"delimiter is {self.delimiter!r}; allowed is one character")
        self._templates()
        self.condition()
        if self.rows:
            Rows(self.rows)

    @property
    def named(self) -> tuple[str, str] | None:
        """Names of the (query, document) columns that a row has after `shaped`; None to choose them."""
        if not self.query:
            return None
        return ("query", "document") if self.shapes else (self.query, self.document)

    @property
    def shapes(self) -> bool:
        """Whether rows are changed: a field is more than the name of a column, or rows are filtered."""
        return bool(self.where or self.negatives or self.rows) or any(
            len(found.parts) > 1 or len(found.paths[0].steps) > 1 for found in self._templates()
        )

    @property
    def read_columns(self) -> list[str]:
        """The columns to read of a file that gives some of them; empty for all."""
        if not self.query or self.rows:
            return []
        names = [path.column for found in self._templates() for path in found.paths]
        found = self.condition()
        return list(dict.fromkeys([*names, *(found.columns if found else [])]))

    def _templates(self) -> list[Template]:
        return [template(text) for text in (self.query, self.document, self.negatives) if text]

    def condition(self) -> Condition | None:
        return condition(self.where) if self.where else None


class Shaper:
    """Makes rows of `query`, `document` and `negatives` of the rows of a file, and drops those `where` leaves out."""

    def __init__(self, reading: Reading):
        self.reading = reading
        self.condition = reading.condition()
        self.fields = {
            name: template(text)
            for name, text in (
                ("query", reading.query), ("document", reading.document), ("negatives", reading.negatives),
            )
            if text
        }  # fmt: skip
        self.used = {path.column for field in self.fields.values() for path in field.paths}
        self.used |= set(self.condition.columns) if self.condition else set()
        self.unused: Counter[str] = Counter()
        self.rows = Rows(reading.rows) if reading.rows else None

    def _values(self, values: Iterator[Any]) -> Iterator[Any]:
        for value in values:
            if self.rows is None or isinstance(value, Dropped):
                yield value
            else:
                yield from self.rows(value)

    def shaped(self, values: Iterator[Any]) -> Iterator[Any]:
        """Rows, and the reasons to drop others."""
        for value in self._values(values):
            if not isinstance(value, dict | list):
                yield value
            elif self.condition is not None and not self.condition(value):
                yield OTHERWISE
            elif self.fields:
                self._count(value)
                yield {name: field(value) for name, field in self.fields.items()}
            else:
                yield self._without_condition(value)

    def _without_condition(self, value: Any) -> Any:
        """The row without columns that `where` alone is for, so that they raise no more questions."""
        if not isinstance(value, dict):
            return value
        return {
            name: item
            for name, item in value.items()
            if may_be_read(name) or not (name in self.used or name.startswith("^"))
        }

    def _count(self, value: Any) -> None:
        for name in value if isinstance(value, dict) else ():
            if (
                name not in self.used
                and not name.startswith("^")
                and (name in self.unused or len(self.unused) < MOST_UNUSED)
            ):
                self.unused[name] += 1

    def left_over(self) -> Unused:
        """The columns that were not read."""
        return Unused(dict(self.unused))
