"""Sources as the user specifies them."""

import re
from dataclasses import dataclass, field, replace

from gte_ray.errors import UsageError
from gte_ray.readers.dataset_folder import WHOLE, Chosen
from gte_ray.readers.formats import Piece, read_items
from gte_ray.readers.input_files import Globs, list_files
from gte_ray.readers.join import Join
from gte_ray.readers.paths import template
from gte_ray.readers.reading import Reading
from gte_ray.runtime.storage import FileStamp

PRE_TRAINING_TASKS = (
    "web-page",
    "academic-paper",
    "hyperlink",
    "social-media",
    "knowledge-base",
    "community-qa",
    "news",
    "code",
    "others",
)
"""The nine task types of Table 1."""
TASKS = (*PRE_TRAINING_TASKS, "web-search", "open-qa", "nli", "fact-verification", "paraphrase")
"""All task types: those of Table 1, then those of fine-tuning alone (Table 12)."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_SOURCE = re.compile(
    r"(?P<name>[^=/]+)=(?P<glob>.+?):(?P<task>[^:/,]+)(?::(?P<query>[^:,]+),(?P<document>[^:,]+))?"
)


@dataclass(frozen=True)
class SourceSpec:
    """A source as the user specifies it. Raises UsageError for an invalid name, task or column."""

    name: str
    glob: Globs
    task: str
    reading: Reading = field(default_factory=Reading)
    limit: int = 0
    """Pairs to keep, about, before duplicates are removed: a random sample, the same in any order; 0 for all. Of a source
    that is split, those of each part."""
    allow_drops: bool = False
    """Whether more than half of the rows may be no pairs."""
    exclude: str = ""
    """Pattern of names of files that are left out."""
    stamp: str = ""
    """If set, identifies the input in place of the sizes and times of its files."""
    joins: tuple[Join, ...] = ()
    """Fields that rows get from other files, one after another."""
    chosen: Chosen = WHOLE
    """Which part of a data set, if `glob` is the folder of one."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"--source: name is {self.name!r}; allowed are letters, digits, '_', '-' and '.', "
                "a letter or digit first"
            )
        if self.task not in TASKS:
            raise UsageError(f"--source {self.name}: task is {self.task!r}; allowed are {', '.join(TASKS)}")
        if self.limit < 0:
            raise UsageError(
                f"--source {self.name}: limit is {self.limit}; allowed is a number of pairs, or 0 for all"
            )

    def files(self) -> tuple[list[FileStamp], dict[str, int]]:
        """The files of the source, and the number of matching files of other formats by file name suffix.

        Raises RunError if there are no files, or if they cannot be listed.
        """
        return list_files(f"source {self.name}", self.glob, self.exclude, self.reading, self.chosen)

    @property
    def where_of_rows(self) -> str:
        """The condition of rows before they are joined; empty if it is on what they are joined with."""
        found = self.reading.condition()
        own = found and not {join.name for join in self.joins} & {path.column for path in found.paths}
        return self.reading.where if own else ""

    @property
    def key_readings(self) -> list[Reading]:
        """How this side's rows are read for each join, if there is one: from the files, then as joined rows."""
        later = [join.these_rows(self.joined_reading, "") for join in self.joins[1:]]
        return [self.joins[0].these_rows(self.reading, self.where_of_rows), *later]

    @property
    def joined_reading(self) -> Reading:
        """How joined rows, which are JSON Lines, become pairs."""
        where = "" if self.where_of_rows else self.reading.where
        return replace(
            self.reading,
            where=where,
            rows="",
            columns=(),
            encoding="",
            delimiter="",
            members="",
            format="json",
        )

    @property
    def matched_columns(self) -> set[str]:
        """The columns by which rows are joined, or left out before they are: they are read, although no text is made of them."""
        keys = [path.column for join in self.joins for path in template(join.on).paths]
        found = self.reading.condition() if self.joins else None
        return {*keys, *(path.column for path in (found.paths if found else ()))}

    def joined_files(self) -> list[list[FileStamp]]:
        """The files of each join. Raises RunError as `files` does."""
        return [
            list_files(
                f"source {self.name}: join.{join.name}", join.files, join.exclude, join.reading, join.chosen
            )[0]
            for join in self.joins
        ]


def parse_source(text: str) -> SourceSpec:
    """Parses `NAME=GLOB:TASK` or `NAME=GLOB:TASK:QUERY,DOCUMENT`. Raises UsageError for anything else."""
    match = _SOURCE.fullmatch(text)
    if not match:
        raise UsageError(
            f"--source is {text!r}; allowed is NAME=GLOB:TASK or NAME=GLOB:TASK:QUERY_COLUMN,DOCUMENT_COLUMN"
        )
    try:
        reading = Reading(match["query"] or "", match["document"] or "")
    except UsageError as error:
        raise UsageError(f"--source {match['name']}: {error}") from error
    return SourceSpec(match["name"], match["glob"], match["task"], reading)


def check_file(uri: str, reading: Reading) -> None:
    """Raises RunError for what shows at the start: a cut-off Parquet file, missing or ambiguous columns."""
    next(read_items(Piece(uri), reading), None)
