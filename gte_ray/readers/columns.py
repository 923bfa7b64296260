"""Chooses the columns of queries, documents and hard negatives by name, or refuses the file."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gte_ray.errors import RunError
from gte_ray.readers.values import UNSCORED, Scores, listed

LIST_COLUMNS = (
    ("query", "pos"),
    ("question", "positive_ctxs"),
    ("query", "positive_ctxs"),
    ("query", "positive_passages"),
    ("question", "positive_passages"),
)
"""Unambiguous (query, documents) columns: of FlagEmbedding and MEDI, DPR and BERRI, Tevatron."""
KNOWN_COLUMNS = (
    ("query", "document"),
    ("query", "passage"),
    ("query", "positive"),
    ("query", "positives"),
    ("query", "answer"),
    ("query", "response"),
    ("query", "text"),
    ("query", "context"),
    ("query", "doc"),
    ("query", "positive_passage"),
    ("query", "code"),
    ("anchor", "positive"),
    ("anchor", "positives"),
    ("question", "answer"),
    ("question", "response"),
    ("question", "context"),
    ("question", "passage"),
    ("question", "document"),
    ("question", "positive"),
    ("prompt", "response"),
    ("title", "body"),
    ("title", "abstract"),
    ("title", "text"),
    ("title", "content"),
    ("title", "article"),
    ("title", "selftext"),
    ("title", "answer"),
    ("summary", "content"),
    ("summary", "document"),
    ("summary", "article"),
    ("summary", "text"),
    ("highlights", "article"),
    ("post", "comment"),
    ("entity", "description"),
    ("citation", "reference"),
    ("text", "code"),
    ("docstring", "code"),
    ("comment", "code"),
    ("question1", "question2"),
    ("sentence1", "sentence2"),
    ("text1", "text2"),
    ("title1", "title2"),
    ("body1", "body2"),
    ("post1", "post2"),
    ("sent0", "sent1"),
)
"""(query, document) columns recognised without being named by the user, in any order."""
SCORE_COLUMNS = ("pos_scores", "neg_scores")
"""Columns of a teacher's scores beside `pos` and `neg`, in FlagEmbedding's layout."""
SET_COLUMN = "set"
"""Column of lists of texts with the same meaning."""
RIVAL_SHARE = 0.1
"""The choice is ambiguous if more than this share of the best pair's row count has another known pair."""
SHOWN = 20
"""Maximum number of columns listed in a message."""
_NEGATIVES = re.compile(r"(hard_)?neg(ative)?s?(_?\d+|_ctxs|_passages|_docs|_documents|_texts)?", re.I)
_VERDICTS = re.compile(
    r"(?!(pos|neg|positive|negative|language|title)_score)(\w+_)?(label|score)s?(_\w+|\.\d+)?"
    r"|(\w+_)?similarity(_\w+)?|(\w+_)?(relevance|relatedness|entailment|judge?ment|class|classification|sim)"
    r"|target|y|grade|relation|rel|gold(_\w+)?|quality|verdict|contradiction|annotation|polarity"
    r"|(is_|if_)?(duplicates?|match|paraphrase|relevant|similar|same|related|correct)"
    r"|is_(positive|negative|answer|answerable|impossible|pair|true|valid)"
)
"""Names, in snake case, of columns that record whether, or how well, a row's two texts belong together."""


@dataclass(frozen=True)
class Columns:
    """The columns to read."""

    query: str
    """Column of the queries, or of the sets if `document` is empty."""
    document: str
    negatives: tuple[str, ...] = ()
    scores: str = ""
    """Column of a teacher's scores of the documents."""
    negative_scores: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name in (*self.texts, *self._scored) if name)

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns of queries, documents and negatives."""
        return (self.query, self.document, *self.negatives)

    @property
    def _scored(self) -> tuple[str, str]:
        """Those of scores; of negatives in several columns none is known to belong to one."""
        return self.scores, self.negative_scores if len(self.negatives) == 1 else ""

    def row_scores(self, row: Mapping[str, Any]) -> Scores:
        """The scores that a row has."""
        if not self.scores and not self.negative_scores:
            return UNSCORED
        return Scores(*(listed(row.get(name)) if name else () for name in self._scored))

    def with_more(self, names: Sequence[str]) -> "Columns":
        """With the columns of hard negatives and of scores that are among further `names`."""
        if not self.document:
            return self
        more = tuple(name for name in names if is_negative(name))
        return replace(self, negatives=self.negatives + more).with_score_columns(names)

    def with_score_columns(self, names: Sequence[str]) -> "Columns":
        """With the columns of scores that are among `names`: those of FlagEmbedding's layout."""
        if _plain(self.document) != "pos":
            return self
        found = {_plain(name): name for name in names}
        return replace(
            self,
            scores=self.scores or found.get(SCORE_COLUMNS[0], ""),
            negative_scores=self.negative_scores or found.get(SCORE_COLUMNS[1], ""),
        )


def choose_columns(
    names: Sequence[str],
    rows: Mapping[tuple[str, ...], int],
    given: tuple[str, str] | None,
    lists: frozenset[str],
    where: str,
) -> Columns:
    """Chooses the columns to read among `names`.

    `rows` counts the rows by the names of their columns. `lists` are the columns that hold lists, `given` the
    (query, document) columns that the user named. Raises RunError, with the columns listed, if a given column
    is missing, if the choice is ambiguous, or if a column may mark rows as not a pair.
    """
    negatives = tuple(dict.fromkeys(name for name in names if is_negative(name)))
    if given:
        missing = [name for name in given if name not in names]
        if missing:
            raise RunError(f"{where}: there is no column {shown(missing)}; there are {shown(names)}")
        query, document = given
    else:
        query, document = _known(names, rows, lists, where)
        _refuse_verdicts(names, query, document, where)
    negatives = tuple(name for name in negatives if name not in (query, document)) if document else ()
    chosen = Columns(query, document, negatives).with_score_columns(names)
    counts = Counter(name if given else _plain(name) for name in names)
    twice = [name for name in chosen.names if counts[name if given else _plain(name)] > 1]
    if twice:
        raise RunError(f"{where}: the column {shown(twice)} is there twice; rename or remove one of the two")
    return chosen


def is_negative(name: str) -> bool:
    """Whether a column of this name holds hard negatives: a text or a list of texts per row."""
    return _NEGATIVES.fullmatch(name) is not None


def is_verdict(name: str) -> bool:
    """Whether a column of this name may mark a row as not a pair."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip()).lower()
    return _VERDICTS.fullmatch(re.sub(r"[ -]+", "_", words)) is not None


def may_be_read(name: str) -> bool:
    """Whether a column of this name may hold queries, documents, negatives or scores by its name."""
    known = {SET_COLUMN, *SCORE_COLUMNS}.union(*LIST_COLUMNS, *KNOWN_COLUMNS)
    return _plain(name) in known or is_negative(name)


def has_known(names: Sequence[str]) -> bool:
    """Whether `names` include a known pair of query and document columns."""
    plain = {_plain(name) for name in names}
    return any(plain.issuperset(pair) for pair in (*LIST_COLUMNS, *KNOWN_COLUMNS))


def _known(
    names: Sequence[str], rows: Mapping[tuple[str, ...], int], lists: frozenset[str], where: str
) -> tuple[str, str]:
    """The known (query, document) columns that the most rows have, or the set column and "".

    Raises RunError if there are none, or if another known pair is common too.
    """
    counted = [({_plain(name) for name in row}, count) for row, count in rows.items()]

    def support(pair: Collection[str]) -> int:
        return sum(count for row, count in counted if row.issuperset(pair))

    if not any(support(pair) for pair in (*LIST_COLUMNS, *KNOWN_COLUMNS, (SET_COLUMN,))):
        counted = [({_plain(name) for name in names}, 1)]  # the known columns may hold only nulls
    originals = {_plain(name): name for name in names}
    sets = support([SET_COLUMN]) if originals.get(SET_COLUMN) in lists else 0
    tiers = [{pair: support(pair) for pair in known} for known in (LIST_COLUMNS, KNOWN_COLUMNS)]
    supports = max(tiers, key=lambda tier: max(tier.values()))  # the first of equals
    best = max(supports, key=lambda pair: supports[pair])
    if sets > supports[best]:
        return originals[SET_COLUMN], ""
    if supports[best] and sum(count > RIVAL_SHARE * supports[best] for count in supports.values()) == 1:
        return originals[best[0]], originals[best[1]]
    raise RunError(
        f"{where}: cannot tell queries from documents among the columns {shown(names)}; "
        "name them as NAME=GLOB:TASK:QUERY_COLUMN,DOCUMENT_COLUMN (a CSV or TSV file without a line of names needs "
        "`columns` in a file of sources)"
    )


def _plain(name: str) -> str:
    return name.strip().lower()


def _refuse_verdicts(names: Sequence[str], query: str, document: str, where: str) -> None:
    verdicts = [name for name in names if is_verdict(name) and name not in (query, document)]
    if verdicts:
        remedy = (
            f", or take every row as a pair by NAME=GLOB:TASK:{shown([query], '')},{shown([document], '')}"
        )
        raise RunError(
            f"{where}: the column {shown(verdicts)} may say of a row that its texts do not belong together; say which "
            f"rows are pairs by `where` in a file of sources{remedy if document else ''}"
        )


def shown(names: Iterable[str], quote: str = "'") -> str:
    """Names for a message: quoted, on one line, unprintable characters escaped, at most SHOWN of them."""
    listed = list(names)
    safe = ["".join(c if c.isprintable() else ascii(c)[1:-1] for c in name) for name in listed[:SHOWN]]
    rest = [f"and {len(listed) - SHOWN} others"] if len(listed) > SHOWN else []
    return ", ".join([*(f"{quote}{name[:80]}{quote}" for name in safe), *rest])
