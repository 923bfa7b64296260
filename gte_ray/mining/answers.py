"""Answers of queries, as open question answering has them: a passage with one of them is no negative (Appendix A.2, 2004.04906).

Legend: n pairs, k documents found for each, a queries that have answers.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import pyarrow as pa

from gte_ray.data.hashing import text_hashes
from gte_ray.data.ids import Report
from gte_ray.data.manifest import SourceInfo
from gte_ray.data.step_plan import ROW_GROUP_ROWS
from gte_ray.data.store import Store, open_store
from gte_ray.data.units import Unit, cut
from gte_ray.data.word_runs import normalised
from gte_ray.errors import RunError
from gte_ray.mining.choose import Window, choose
from gte_ray.mining.corpus import GivenFiles, list_given
from gte_ray.readers.formats import read_items
from gte_ray.readers.reading import Reading
from gte_ray.readers.values import Dropped, Unused, reason_to_drop
from gte_ray.runtime import storage
from gte_ray.runtime.parquet import open_parquet, write_parquet
from gte_ray.runtime.pool import run_tasks

WITHOUT_SPACES = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]"
)
"""Letters of languages that put no spaces between words, or none before what follows a noun: Chinese, Japanese, Korean, Thai,
Lao, Burmese and Khmer. Answers with them are looked for in the midst of words too."""
LEFT_OUT = "with an answer of their query"
"""Reason of candidates that are no negatives."""


@dataclass(frozen=True)
class Answers:
    """The answers of queries, in a file."""

    path: str

    def of(self, query_hashes: np.ndarray) -> list[list[str]]:
        """The normalised answers of n queries by their (n,) hashes; an empty list for those that have none."""
        own, answers = _read(self.path)
        first, last = (np.searchsorted(own, query_hashes, side=side) for side in ("left", "right"))
        return [answers[start:stop] for start, stop in zip(first, last, strict=True)]

    def queries(self, query_hashes: np.ndarray) -> int:
        """How many of n queries have answers."""
        return int(np.isin(query_hashes, _read(self.path)[0]).sum())


@lru_cache(maxsize=1)
def _read(path: str) -> tuple[np.ndarray, list[str]]:
    """(a,) ascending hashes of queries, one for each answer, and the answers."""
    table = open_parquet(path).read(use_threads=False)
    return table.column("query_hash").to_numpy(), table.column("answer").to_pylist()


def list_answers(glob: str, query: str, answer: str) -> GivenFiles:
    """The files of answers. Raises RunError if there are none, UsageError for fields that cannot be followed."""
    return list_given("--answers", glob, "--answers-query or --answers-text", query, answer)


def gather_answers(
    store: Store, uri: str, given: GivenFiles, sources: Sequence[SourceInfo], scratch: str, report: Report
) -> Answers:
    """Reads the answers into a folder of the store at `uri`, whose name begins with `scratch`. Ray must be initialised.

    Raises RunError if no pair of `sources` has any, or if a file cannot be read.
    """
    path = storage.absolute(storage.join(uri, f"{scratch}answers-{given.identity[:8]}", "answers.parquet"))
    if not storage.exists(path):
        tables = list(run_tasks(cut(given.files, given.reading), partial(_read_unit, reading=given.reading)))
        table = (
            pa.concat_tables(tables).group_by(["query_hash", "answer"]).aggregate([]).sort_by("query_hash")
        )
        report("reading answers", len(table))
        write_parquet(table, path, ROW_GROUP_ROWS)
    names = [source.name for source in sources]
    found = dict(run_tasks(names, partial(_count, store=storage.absolute(store.uri), answers=Answers(path))))
    for source in sources:
        report(f"{source.name}: {found[source.name]:,} of {source.rows:,} pairs have answers", 0)
    if not any(found.values()):
        raise RunError(
            f"--answers {given.glob}: no query of {', '.join(names)} is a text {given.reading.query!r} of these files; "
            "--answers-query makes the same text as the source has"
        )
    return Answers(path)


def _read_unit(unit: Unit, reading: Reading) -> Iterator[pa.Table]:
    queries, answers = [], []
    for piece in unit:
        for item in read_items(piece, reading):
            if isinstance(item, Unused | Dropped):
                continue
            query, answer = (str(text) if isinstance(text, int | float) else text for text in item[:2])
            if not reason_to_drop(query) and not reason_to_drop(answer):
                queries.append(query)
                answers.append(answer)
    hashes = text_hashes(pa.array(queries, pa.large_string()))
    words = normalised(pa.array(answers, pa.large_string()))
    table = pa.table({"query_hash": pa.array(hashes, pa.uint64()), "answer": words})
    yield table.filter(pa.array([bool(text) for text in words.to_pylist()], pa.bool_()))


def _count(name: str, store: str, answers: Answers) -> Iterator[tuple[str, int]]:
    opened = open_store(store, check=False)
    hashes = opened.read_rows(name, 0, opened.source(name).rows, ["query_hash"]).column(0).to_numpy()
    yield name, answers.queries(hashes)


def choose_without_answers(
    found: tuple[np.ndarray, np.ndarray, np.ndarray],
    hashes: Sequence[np.ndarray],
    window: Window,
    answers: Answers,
    read: Callable[[np.ndarray], Sequence[str]],
) -> tuple[np.ndarray, np.ndarray, int]:
    """As `choose`, without documents that have an answer of their query, for which others are chosen in the window.

    `found` are the (n, k) documents and scores and the (n,) scores of the pairs themselves, `hashes` the (n,) of queries and
    documents, and `read` returns the texts of documents by ascending numbers. Only those that are chosen are read.
    Returns (c,) pairs and (c,) documents, and how many were left out.
    """
    own = answers.of(hashes[0])
    documents = found[0]
    barred = np.zeros(documents.shape, bool)
    passed = np.zeros(documents.shape, bool)
    while True:
        pairs, numbers = choose(*found, hashes[0], hashes[1], window, barred=barred)
        places = np.argmax(documents[pairs] == numbers[:, None], axis=1)
        new = np.array([bool(own[pair]) for pair in pairs], bool) & ~passed[pairs, places]
        if not new.any():
            return pairs, numbers, int(barred.sum())
        kinds, picks = np.unique(numbers[new], return_inverse=True)
        texts = normalised(pa.array(read(kinds), pa.large_string())).to_pylist()
        for pair, place, pick in zip(pairs[new], places[new], picks, strict=True):
            has = any(_is_in(answer, texts[pick]) for answer in own[pair])
            (barred if has else passed)[pair, place] = True


def _is_in(answer: str, text: str) -> bool:
    """Whether a normalised text has the words of an answer in a row."""
    return answer in text if WITHOUT_SPACES.search(answer) else f" {answer} " in f" {text} "
