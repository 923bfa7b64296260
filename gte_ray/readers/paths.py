"""Fields of a row by path, and texts made of several fields, as a source's settings name them.

title                       a column of that very name, whatever characters are in it
answers[0].text             the field `text` of the first answer
answers[1:].text            those of all others: a list
{title}\n{body.text}        a text of two fields
question|after:[SEP]        what of a text is behind the first [SEP]; all of it if there is none
question|before:[SEP]       what is before it; nothing if there is none
page|first-line             the first line of a text
page|other-lines            the lines behind it
body|plain                  HTML without its tags and entities
text|wikitext               the text of wiki markup
body|language               the code of its language, such as en
.                           the row itself
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from gte_ray.errors import UsageError
from gte_ray.readers.functions import FUNCTIONS, function
from gte_ray.readers.plain import plain
from gte_ray.readers.wikitext import parser, wikitext

Step = str | int | slice
NO_TEXT: dict[str, Any] = {}
"""What a template makes of fields that are objects: no text, so that the row is dropped and counted."""
TEXTS = {"plain": plain, "wikitext": wikitext}
"""What makes a plain text of one that is marked up."""
ROW = "."
_STEP = re.compile(r"\.?([^.\[\]{}]+)|\[(-?\d*)(:?)(-?\d*)\]")
_FILTER = re.compile(
    r"(.+)\|(?:(before|after):(.+)|(first-line|other-lines|plain|wikitext|language))", re.DOTALL
)
_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|([{}])")


class Path:
    """The way from a row to one of its fields. What is no path, such as `[a`, is the name of a column."""

    def __init__(self, text: str):
        self.text = text
        found = _FILTER.fullmatch(text)
        self.filter = (found[2] or found[4], found[3] or "") if found else None
        """Which part of a text is taken, and by which mark, or what is asked of it; None for all of it."""
        if found and found[4] in FUNCTIONS:
            function(found[4])  # whose package may be missing
        if found and found[4] == "wikitext":
            parser()  # likewise
        bare = found[1].strip() if found else text
        self.steps = () if bare == ROW else tuple(_steps(bare)) or (bare,)

    def __call__(self, row: Any) -> Any:
        """The value, a list where the path has a slice, or None if the row has no such field."""
        if isinstance(row, dict) and self.text in row:
            return row[self.text]
        value = _follow(row, self.steps)
        return value if self.filter is None else _filtered(value, *self.filter)

    @property
    def many(self) -> bool:
        """Whether the path leads to a list."""
        return any(isinstance(step, slice) for step in self.steps)

    @property
    def column(self) -> str:
        """The column that the path begins with; empty if it begins with a position, or is the row itself."""
        return self.steps[0] if self.steps and isinstance(self.steps[0], str) else ""


class Rows:
    """The way to rows that lie inside a value, such as `data[].paragraphs[].qas[]`.

    A row that is an object has the fields of the objects around it too: `^title` is that of the next one, `^^title`
    of the one around that. A row that is no object is in `value`.
    """

    def __init__(self, text: str):
        self.steps = tuple(_steps(text))
        if not self.steps:
            raise UsageError(f"rows is {text!r}; allowed is a path such as data[].paragraphs[].qas[]")

    def __call__(self, value: Any) -> Iterator[dict[str, Any]]:
        return _inner_rows(value, self.steps, {})


def _inner_rows(value: Any, steps: tuple[Step, ...], around: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if not steps:
        yield (value if isinstance(value, dict) else {"value": value}) | around
        return
    step, rest = steps[0], steps[1:]
    if isinstance(step, slice):
        for item in value[step] if isinstance(value, list) else ():
            yield from _inner_rows(item, rest, around)
    elif isinstance(step, int):
        if isinstance(value, list) and -len(value) <= step < len(value):
            yield from _inner_rows(value[step], rest, around)
    elif isinstance(value, dict) and step in value:
        around = {f"^{name}": item for name, item in around.items()}
        around |= {f"^{name}": item for name, item in value.items() if name != step}
        yield from _inner_rows(value[step], rest, around)


class Template:
    """A path, or a text with paths in braces; `{{` and `}}` stand for braces. Raises UsageError for what is none."""

    def __init__(self, text: str):
        self.text = text
        self.parts: list[str | Path] = list(_parts(text)) if _BRACES.search(text) else [Path(text)]

    @property
    def paths(self) -> list[Path]:
        return [part for part in self.parts if isinstance(part, Path)]

    def has_all(self, row: Any) -> bool:
        """Whether the row has each field of a text of several, as the key of a join needs."""
        return len(self.parts) == 1 or all(path(row) not in (None, "", []) for path in self.paths)

    def each(self, row: Any) -> Any:
        """As the call, but a list of texts where a field of a text leads to a list: one for each of its items."""
        if len(self.parts) == 1 or not any(path.many for path in self.paths):
            return self(row)
        values = [part if isinstance(part, str) else part(row) for part in self.parts]
        count = max((len(value) for value in values if isinstance(value, list)), default=0)
        return [self._joined([_text(_nth(value, number)) for value in values]) for number in range(count)]

    def __call__(self, row: Any) -> Any:
        """The value of a path as it is; otherwise a text, None if no field of it is there, NO_TEXT if one is no text."""
        if len(self.parts) == 1 and isinstance(self.parts[0], Path):
            return self.parts[0](row)
        return self._joined([part if isinstance(part, str) else _text(part(row)) for part in self.parts])

    def _joined(self, values: list[str | None]) -> Any:
        """What stands between two fields is left out beside one that is empty."""
        if None in values:
            return NO_TEXT
        text, between, first, found = "", "", True, False
        for part, value in zip(self.parts, values, strict=True):
            if isinstance(part, str):
                between += part
                continue
            text += between if first or (found and value) else ""
            text += value or ""
            between, first, found = "", False, found or bool(value)
        return (text + between).strip() if found else None


def _filtered(value: Any, name: str, mark: str) -> Any:
    """A part of each text, or its language; other values stay, so that they are dropped and counted, or have none."""
    if isinstance(value, list):
        return [_filtered(item, name, mark) for item in value]
    if name in FUNCTIONS:
        return FUNCTIONS[name](value)
    if not isinstance(value, str):
        return value
    if name in ("first-line", "other-lines"):
        first, _, rest = value.strip().partition("\n")
        return (first if name == "first-line" else rest).strip()
    if name in TEXTS:
        return TEXTS[name](value)
    before, found, after = value.partition(mark)
    if name == "before":
        return before.strip() if found else None
    return (after if found else value).strip()


def _nth(value: Any, number: int) -> Any:
    """An item of a list, None behind its end; what is no list is the same for all numbers."""
    if not isinstance(value, list):
        return value
    return value[number] if number < len(value) else None


def _text(value: Any) -> str | None:
    """The text of a field, empty if it is not there; None for what is no text, such as an object."""
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, bool) or not isinstance(item, str | int | float | None) for item in items):
        return None
    return " ".join(str(item) for item in items if item is not None)


def _parts(text: str) -> Iterator[str | Path]:
    end = 0
    for match in _BRACES.finditer(text):
        if match[2]:
            raise UsageError(
                f"{text!r} has a single {match[2]!r}; a field is {{name}}, a brace is written twice"
            )
        yield text[end : match.start()] + (match[0][0] if match[1] is None else "")
        if match[1] is not None:
            yield Path(match[1])
        end = match.end()
    yield text[end:]


def _steps(text: str) -> list[Step]:
    """The steps of a path; empty if `text` is none."""
    steps: list[Step] = []
    position = 0
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None or (match[0].startswith(".") and position == 0):
            return []
        position = match.end()
        name, start, colon, stop = match.groups()
        if name is not None:
            steps.append(name)
        elif colon or not start:
            steps.append(slice(int(start) if start else None, int(stop) if stop else None))
        else:
            steps.append(int(start))
    return steps


def _follow(value: Any, steps: tuple[Step, ...]) -> Any:
    for number, step in enumerate(steps):
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        elif not isinstance(value, list):
            return None
        elif isinstance(step, int):
            value = value[step] if -len(value) <= step < len(value) else None
        else:
            rest = steps[number + 1 :]
            found = [_follow(item, rest) for item in value[step]]
            nested = any(isinstance(later, slice) for later in rest)
            return [item for inner in found for item in inner or []] if nested else found
    return value


@lru_cache(maxsize=256)
def template(text: str) -> Template:
    return Template(text)
