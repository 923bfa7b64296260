"""A task from a folder in BEIR's layout: corpus.jsonl, queries.jsonl (`_id`, `title`, `text`), qrels/test.tsv."""

import gzip
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gte_ray.data.hashing import digest
from gte_ray.errors import RunError, UsageError
from gte_ray.evaluation.mteb.own import OwnRetrieval, Texts, task_metadata
from gte_ray.runtime import storage

ENDINGS = ("", ".gz")
QUERY_COLUMNS = ("query-id", "qid", "query", "topic")
DOCUMENT_COLUMNS = ("corpus-id", "docid", "doc-id", "document-id", "pid", "docno")
GRADE_COLUMNS = ("score", "relevance", "rel", "grade", "label")
"""Column names in a file of judgements."""

Grades = dict[str, dict[str, int]]
"""Grades of documents, by query."""


@dataclass(frozen=True)
class Content:
    """The texts and judgements of a folder."""

    corpus: dict[str, str]
    queries: dict[str, str]
    relevant: Grades
    notes: tuple[str, ...]
    """What was left out or is missing, with counts."""


class FolderRetrieval(OwnRetrieval):
    """The task. Its data are read when it is scored."""

    metadata = task_metadata("folder", "Retrieval", "folder", "0", "ndcg_at_10")

    def __init__(self, folder: Path, **named: Any):
        self.folder = folder
        files = [
            str(_file(folder, "corpus.jsonl")),
            str(_file(folder, "queries.jsonl")),
            str(_judgements(folder)),
        ]
        revision = digest(storage.stamps(files))
        self.metadata = task_metadata(folder.name, "Retrieval", str(folder), revision, "ndcg_at_10")
        super().__init__(**named)

    def load_data(self, *arguments: Any, **named: Any) -> None:
        if not self.data_loaded:
            content = read_folder(self.folder)
            self.set_texts({"default": Texts(content.corpus, content.queries, content.relevant)})

    def check(self) -> tuple[str, ...]:
        """Return notes on the files. Raises RunError with a one-sentence message if they cannot be scored."""
        return read_folder(self.folder).notes


def is_folder(folder: Path) -> bool:
    """Whether `folder` is a benchmark in BEIR's layout."""
    return any((folder / f"corpus.jsonl{ending}").is_file() for ending in ENDINGS)


def read_folder(folder: Path) -> Content:
    """Read a folder. Raises RunError with file and line if its content is invalid.

    A judged document that is not in the corpus counts as one that cannot be found, as in trec_eval. A judged
    query that is not among the queries is left out.
    """
    judged = _judgements(folder)
    grades = read_grades(judged)
    notes = [] if judged.name.startswith("test.") else [f"{judged} is used: there is no test.tsv"]
    queries, _ = _texts(_file(folder, "queries.jsonl"), needed=grades)
    corpus, empty = _texts(_file(folder, "corpus.jsonl"), needed={})
    relevant = {query: judged_documents for query, judged_documents in grades.items() if query in queries}
    documents = {document for judged_documents in relevant.values() for document in judged_documents}
    present = len(documents & corpus.keys())
    if not present:
        raise RunError(f"{judged}: not one of its queries and documents is in queries.jsonl and corpus.jsonl")
    counts = (
        (len(grades) - len(relevant), len(grades), "queries are not in queries.jsonl and are left out"),
        (len(documents) - present, len(documents), "documents are not in corpus.jsonl and cannot be found"),
    )
    notes += [f"{judged}: {some:,} of {all_:,} {words}" for some, all_, words in counts if some]
    if empty:
        notes.append(f"{folder}: {empty:,} of {len(corpus):,} documents have no text")
    return Content(corpus, {query: queries[query] for query in relevant}, relevant, tuple(notes))


def read_grades(path: Path) -> Grades:
    """Read judgements from a TSV file with or without a header, or from a file in TREC's four-column format.

    Raises RunError with file and line if they are invalid.
    """
    grades: Grades = {}
    columns: tuple[int, ...] = ()
    for number, line in _lines(path):
        fields = [field.strip() for field in (line.split("\t") if "\t" in line else line.split())]
        if not columns:
            header = _header(fields)
            columns = header or ((0, 2, 3) if len(fields) == 4 else (0, 1, 2))
            if header:
                continue
        if len(fields) <= max(columns):
            raise RunError(
                f"{path}, line {number}: has {len(fields)} column(s); allowed are query, document and grade, or "
                "TREC's query, 0, document and grade"
            )
        query, document, grade = (fields[column] for column in columns)
        value = _grade(path, number, grade)
        if grades.setdefault(query, {}).setdefault(document, value) != value:
            raise RunError(
                f"{path}, line {number}: query {query} has another grade for document {document} above"
            )
    if not grades:
        raise RunError(f"{path}: has no judgements")
    return grades


def _header(fields: list[str]) -> tuple[int, ...]:
    """Return the indices of the query, document and grade columns; empty if `fields` is not a header."""
    names = [field.lower().replace("_", "-") for field in fields]
    indices = [
        next((index for index, name in enumerate(names) if name in allowed), -1)
        for allowed in (QUERY_COLUMNS, DOCUMENT_COLUMNS, GRADE_COLUMNS)
    ]
    return tuple(indices) if min(indices) >= 0 else ()


def _grade(path: Path, number: int, text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value != int(value):
        raise RunError(f"{path}, line {number}: the grade is {text!r}; allowed is a whole number")
    return int(value)


def _texts(path: Path, needed: Any) -> tuple[dict[str, str], int]:
    """Return title and text by id, and how many have neither; raises RunError if such an id is `needed`."""
    texts: dict[str, str] = {}
    empty = 0
    for number, line in _lines(path):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise RunError(f"{path}, line {number}: not JSON ({error})") from error
        name, text = _row(f"{path}, line {number}", row)
        if not text:
            empty += name not in texts
            if name in needed:
                raise RunError(f"{path}, line {number}: {name} has judgements and no text")
        if texts.setdefault(name, text) != text:
            raise RunError(f"{path}, line {number}: {name} has another text above")
    return texts, empty


def _row(place: str, row: Any) -> tuple[str, str]:
    """Return the id and text of an object. The id may be a number; title and text may be null or missing."""
    if not isinstance(row, dict):
        raise RunError(f"{place}: not an object with _id and text")
    name = row.get("_id", row.get("id"))
    if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
        raise RunError(f"{place}: _id is {json.dumps(name)}; allowed is a text or a whole number")
    parts = [row.get("title"), row.get("text")]
    for part in parts:
        if part is not None and not isinstance(part, str):
            raise RunError(f"{place}: title or text is {json.dumps(part)[:60]}; allowed is a text")
    return str(name).strip(), " ".join(part or "" for part in parts).strip()


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the non-blank lines with their numbers, from 1."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
        raise RunError(f"{path}: not UTF-8 text ({error})") from error


def _file(folder: Path, name: str) -> Path:
    for ending in ENDINGS:
        if (folder / f"{name}{ending}").is_file():
            return folder / f"{name}{ending}"
    raise UsageError(f"{folder / name}: missing from a benchmark in BEIR's layout")


def _judgements(folder: Path) -> Path:
    """Return qrels/test.tsv, or the only file in qrels."""
    files = sorted(path for ending in ENDINGS for path in (folder / "qrels").glob(f"*.tsv{ending}"))
    tests = [path for path in files if path.name.startswith("test.tsv")]
    if tests or len(files) == 1:
        return (tests or files)[0]
    listing = f"; there are {', '.join(path.name for path in files)}" if files else ""
    raise UsageError(f"{folder / 'qrels/test.tsv'}: missing from a benchmark in BEIR's layout{listing}")
