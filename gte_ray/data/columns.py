"""Which columns of a file hold queries, documents and hard negatives: told by their names, or refused."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from gte_ray.errors import RunError

LIST_COLUMNS = (
    ("query", "pos"),
    ("question", "positive_ctxs"),
    ("query", "positive_ctxs"),
    ("query", "positive_passages"),
    ("question", "positive_passages"),
)
"""Names that no other columns are mistaken for: of FlagEmbedding and MEDI, DPR and BERRI, Tevatron."""
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
"""(query, document) columns that are taken without being named, in whatever order they stand."""
SET_COLUMN = "set"
"""Texts that all say the same."""
RIVAL_SHARE = 0.1
"""Share of the rows with the best known columns from which on others that are known make it unclear."""
SHOWN = 20
"""Most columns that a sentence lists."""
_NEGATIVES = re.compile(r"(hard_)?neg(ative)?s?(_?\d+|_ctxs|_passages|_docs|_documents|_texts)?", re.I)
_VERDICTS = re.compile(
    r"(?!(pos|neg|positive|negative|language|title)_score)(\w+_)?(label|score)s?(_\w+|\.\d+)?"
    r"|(\w+_)?similarity(_\w+)?|(\w+_)?(relevance|relatedness|entailment|judge?ment|class|classification|sim)"
    r"|target|y|grade|relation|rel|gold(_\w+)?|quality|verdict|contradiction|annotation|polarity"
    r"|(is_|if_)?(duplicates?|match|paraphrase|relevant|similar|same|related|correct)"
    r"|is_(positive|negative|answer|answerable|impossible|pair|true|valid)"
)
"""Columns, as in snake case, that say of a row whether, or how well, its two texts belong together."""


@dataclass(frozen=True)
class Columns:
    """The columns that are read."""

    query: str
    """Of the queries; of the sets where there is no `document`."""
    document: str
    negatives: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name in (self.query, self.document, *self.negatives) if name)


def choose_columns(
    names: Sequence[str],
    rows: Mapping[tuple[str, ...], int],
    given: tuple[str, str] | None,
    lists: frozenset[str],
    where: str,
) -> Columns:
    """The columns to read among all `names`; `rows` are counted by the names of the columns that they have.

    `lists` are columns that hold lists, `given` those that a person named. RunError that lists the columns where
    it is not clear, and where some say that rows may be no pairs.
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
    chosen = Columns(query, document, negatives)
    counts = Counter(name if given else _plain(name) for name in names)
    twice = [name for name in chosen.names if counts[name if given else _plain(name)] > 1]
    if twice:
        raise RunError(f"{where}: the column {shown(twice)} is there twice; rename or remove one of the two")
    return chosen


def is_negative(name: str) -> bool:
    """Whether a column of that name holds hard negatives: a text or a list of texts in each row."""
    return _NEGATIVES.fullmatch(name) is not None


def is_verdict(name: str) -> bool:
    """Whether a column of that name may say that a row is no pair."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip()).lower()
    return _VERDICTS.fullmatch(re.sub(r"[ -]+", "_", words)) is not None


def has_known(names: Sequence[str]) -> bool:
    """Whether a query and a document column are among `names`."""
    plain = {_plain(name) for name in names}
    return any(plain.issuperset(pair) for pair in (*LIST_COLUMNS, *KNOWN_COLUMNS))


def _known(
    names: Sequence[str], rows: Mapping[tuple[str, ...], int], lists: frozenset[str], where: str
) -> tuple[str, str]:
    """The known columns that most rows have; there must be no others that many of them have, too."""
    counted = [({_plain(name) for name in row}, count) for row, count in rows.items()]

    def support(pair: Collection[str]) -> int:
        return sum(count for row, count in counted if row.issuperset(pair))

    if not any(support(pair) for pair in (*LIST_COLUMNS, *KNOWN_COLUMNS, (SET_COLUMN,))):
        counted = [({_plain(name) for name in names}, 1)]  # those that are there are null
    lower = {_plain(name): name for name in names}
    sets = support([SET_COLUMN]) if lower.get(SET_COLUMN) in lists else 0
    tiers = [{pair: support(pair) for pair in known} for known in (LIST_COLUMNS, KNOWN_COLUMNS)]
    found = max(tiers, key=lambda tier: max(tier.values()))  # the first where both have as many
    best = max(found, key=lambda pair: found[pair])
    if sets > found[best]:
        return lower[SET_COLUMN], ""
    if found[best] and sum(count > RIVAL_SHARE * found[best] for count in found.values()) == 1:
        return lower[best[0]], lower[best[1]]
    raise RunError(
        f"{where}: cannot tell queries from documents among the columns {shown(names)}; "
        "name them as NAME=GLOB:TASK:QUERY_COLUMN,DOCUMENT_COLUMN (a CSV or TSV file needs a line of names first)"
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
            f"{where}: the column {shown(verdicts)} may say of a row that its texts do not belong together; remove "
            f"such rows and then the column{remedy if document else ''}"
        )


def shown(names: Iterable[str], quote: str = "'") -> str:
    """Names for a sentence: quoted, on one line, whatever characters are in them; at most SHOWN of them."""
    listed = list(names)
    safe = ["".join(c if c.isprintable() else ascii(c)[1:-1] for c in name) for name in listed[:SHOWN]]
    more = [f"and {len(listed) - SHOWN} others"] if len(listed) > SHOWN else []
    return ", ".join([*(f"{quote}{name[:80]}{quote}" for name in safe), *more])
