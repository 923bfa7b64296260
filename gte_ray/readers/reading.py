"""How the rows of a source become pairs, where the user says so and nothing is to be chosen by names."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from gte_ray.errors import RunError, UsageError
from gte_ray.readers.columns import may_be_read, shown
from gte_ray.readers.paths import Path, Rows, Template, template
from gte_ray.readers.values import NOT_A_PAIR, UNSCORED, Dropped, Item, Scores, Unused, listed, pairs_of
from gte_ray.readers.where import Condition, condition
from gte_ray.runtime import storage

OTHERWISE = Dropped("not as where says")
WITHOUT_ROWS = Dropped("without rows where the path says")
UNGROUPED = Dropped("without a value to split by")
FORMATS = ("parquet", "json", "csv", "tsv", "xml", "warc")
SHAPES = ("query", "document", "negatives", "split_by", "score", "negative_scores")
"""Settings that shape pairs."""
FILE, FOLDER = "@file", "@folder"
"""Fields that each row has by where it lies: the names of its file, and of the folder or the archive around that."""
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
    score: str = ""
    """Column or path of a teacher's score of the pair, for distillation. Where documents are a list, of a list."""
    negative_scores: str = ""
    """The same of the hard negatives: a number for each of them."""
    rows: str = ""
    """Path to the rows inside each value of a file, or inside the one value that a JSON file is. Of an XML file the name of
    the elements that are rows."""
    where: str = ""
    """Condition on rows; others are dropped and counted."""
    columns: tuple[str, ...] = ()
    """Names of the columns of CSV and TSV files that have no line of names."""
    encoding: str = ""
    """Of text files; empty for UTF-8, or what a byte order mark says."""
    delimiter: str = ""
    """Of CSV and TSV files; empty to detect it."""
    format: str = ""
    """parquet, json (lines or one value), csv, tsv or xml, whatever the files are called; empty to go by their names."""
    members: str = ""
    """Pattern of the files of an archive that are read, such as */corpus.jsonl; empty for all of known formats."""
    split_by: str = ""
    """Column, path or template: a source of its own for each value, so that batches hold one."""

    def __post_init__(self) -> None:
        if bool(self.query) != bool(self.document) or (self.query and self.query == self.document):
            raise UsageError(
                f"query and document are {self.query!r} and {self.document!r}; allowed are two different ones, or none"
            )
        if self.negatives and not self.query:
            raise UsageError("negatives are named, but not query and document; name all of them")
        if self.score and not self.query:
            raise UsageError("score is named, but not query and document; name all of them")
        if self.negative_scores and not (self.negatives and self.score):
            raise UsageError("negative_scores are named, but not negatives and score; name all of them")
        if self.encoding:
            try:
                "".encode(self.encoding)
            except (LookupError, ValueError) as error:
                raise UsageError(
                    f"encoding is {self.encoding!r}; allowed is one that Python knows, such as latin-1"
                ) from error
        if self.format and self.format not in FORMATS:
            raise UsageError(f"format is {self.format!r}; allowed are {', '.join(FORMATS)}")
        if self.split_by and not self.query:
            raise UsageError("split_by is given, but not query and document; name all of them")
        if self.delimiter and len(self.delimiter) != 1:
            raise UsageError(f"delimiter is {self.delimiter!r}; allowed is one character")
        self._templates()
        self.condition()
        if self.rows:
            Rows(self.rows)

    @property
    def given(self) -> dict[str, Any]:
        """The settings that are not left at their defaults, which are all that tells a source's pairs from another's."""
        return {
            field.name: value
            for field in fields(self)
            if (value := getattr(self, field.name)) != field.default
        }

    @property
    def named(self) -> tuple[str, str] | None:
        """The (query, document) columns that are named; None to choose them by their names."""
        if not self.query:
            return None
        return self.query, self.document

    @property
    def shapes(self) -> bool:
        """Whether rows are changed: a field is more than the name of a column, or rows are filtered."""
        return bool(self.where or self.negatives or self.rows or self.split_by or self.score) or any(
            len(found.parts) > 1
            or found.text in (FILE, FOLDER)
            or len(found.paths[0].steps) > 1
            or not found.paths[0].column
            or found.paths[0].filter
            for found in self._templates()
        )

    def columns_of(self, names: Sequence[str]) -> list[str]:
        """The columns that are looked at, of a file that has columns of these `names`; empty for all of them."""
        paths = self._paths()
        wanted = [path.text if path.text in names else path.column for path in paths]
        if not all(path.steps for path in paths):  # the whole row
            wanted += names
        named = [name for name in dict.fromkeys(wanted) if name and name not in (FILE, FOLDER)]
        return [] if self.rows else named

    def place(self, uri: str) -> dict[str, Any]:
        """The fields that each row of a file has by where it lies; none if none is read."""
        if all(path.steps and path.column not in (FILE, FOLDER) for path in self._paths()):
            return {}
        return dict(zip((FILE, FOLDER), reversed(["", *storage.parts(uri)][-2:]), strict=True))

    def _paths(self) -> list[Path]:
        found = self.condition()
        return [path for part in self._templates() for path in part.paths] + (found.paths if found else [])

    def _templates(self) -> list[Template]:
        return [template(text) for name in SHAPES if (text := getattr(self, name))]

    def condition(self) -> Condition | None:
        return condition(self.where) if self.where else None


class Shaper:
    """Makes pairs of the fields of rows, or leaves rows out, as a `Reading` says. It decides by each row alone."""

    def __init__(self, reading: Reading, uri: str):
        self.place = reading.place(uri)
        self.condition = reading.condition()
        self.rows = Rows(reading.rows) if reading.rows else None
        texts = [getattr(reading, name) for name in SHAPES]
        self.fields = [template(text) if text else None for text in texts]
        self.layout = f"{reading.query}, {reading.document}".replace("\n", " ")
        paths = [path for field in self.fields if field for path in field.paths]
        paths += self.condition.paths if self.condition else []
        self.used = {name for path in paths for name in (path.column, path.text)}
        self.unused: Counter[str] = Counter()
        self.otherwise = OTHERWISE

    def note_missing(self, head: Iterable[Any]) -> None:
        """Tells in the reason of rows that `where` leaves out which of its fields no row at the beginning has."""
        names = {name for row in head if isinstance(row, dict) for name in row}
        paths = self.condition.paths if self.condition and names else []
        missing = [path.column for path in paths if path.column and not {path.column, path.text} & names]
        if missing:
            self.otherwise = Dropped(f"{OTHERWISE.reason} (no row at the beginning has {shown(missing)})")

    def expanded(self, values: Iterable[Any]) -> Iterator[Any]:
        """The rows inside each value, or a reason to drop one that has none."""
        for value in values:
            if self.rows is None or isinstance(value, Dropped):
                yield self._placed(value)
                continue
            found = False
            for row in self.rows(value):
                found = True
                yield self._placed(row)
            if not found:
                yield WITHOUT_ROWS.of(value)

    def _placed(self, row: Any) -> Any:
        """The row with its place. One that was joined has it already, of its own file."""
        return self.place | row if self.place and isinstance(row, dict) else row

    def filtered(self, values: Iterable[Any], everything: bool = False) -> Iterator[Any]:
        """Rows that are to be read, without the columns that `where` alone is for, which raise questions otherwise.

        With `everything` the rows that `where` leaves out too: whatever it says, the same columns are read.
        """
        for value in values:
            if not isinstance(value, dict):
                yield value
            elif not everything and self.condition is not None and not self.condition(value):
                yield self.otherwise
            else:
                yield {
                    name: item
                    for name, item in value.items()
                    if may_be_read(name) or not (name in self.used or _is_around(name))
                }

    def pairs(self, values: Iterable[Any]) -> Iterator[Item]:
        """The pairs of each row: one for each document where that is a list."""
        query, document, negatives, split_by, *scored = self.fields
        assert query is not None and document is not None
        for value in values:
            if not isinstance(value, dict | list):
                yield value if isinstance(value, Dropped) else NOT_A_PAIR.of(value)
            elif self.condition is not None and not self.condition(value):
                yield self.otherwise
            else:
                self._count(value)
                documents = document.each(value)
                candidates = listed(negatives.each(value)) if negatives else []
                texts = documents if isinstance(documents, list) else [documents]
                if not texts:
                    yield NOT_A_PAIR.of(value)
                    continue
                scores = UNSCORED
                if any(scored):
                    scores = Scores(*(listed(field.each(value)) if field else () for field in scored))
                group = split_by(value) if split_by else ""
                if not isinstance(group, str | int) or (split_by and not str(group).strip()):
                    yield UNGROUPED.of(value)
                    continue
                yield from pairs_of(query(value), texts, candidates, self.layout, str(group), scores)

    def _count(self, value: Any) -> None:
        for name in value if isinstance(value, dict) else ():
            counted = name in self.unused or len(self.unused) < MOST_UNUSED
            if counted and name not in self.used and not _is_around(name):
                self.unused[name] += 1

    def left_over(self) -> Unused:
        """The columns that were not read."""
        return Unused(dict(self.unused))


def _is_around(name: str) -> bool:
    """Whether a field is not the row's own, but of an object around it, or of its file."""
    return name.startswith("^") or name in (FILE, FOLDER)


def check_names(names: Sequence[str], wanted: Sequence[str], uri: str) -> None:
    """Raises RunError if one of the `wanted` columns is not among `names`, or is there twice."""
    missing = [name for name in wanted if name not in names]
    if missing:
        raise RunError(f"{uri}: there is no column {shown(missing)}; there are {shown(names)}")
    twice = [name for name in wanted if names.count(name) > 1]
    if twice:
        raise RunError(f"{uri}: the column {shown(twice)} is there twice; rename or remove one of the two")
