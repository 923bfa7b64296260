"""Fields of a row by path, and texts made of several fields, as a source's settings name them.

title                       a column of that very name, whatever characters are in it
answers[0].text             the field `text` of the first answer
answers[1:].text            those of all others: a list
{title}\n{body.text}        a text of two fields
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from gte_ray.errors import UsageError

Step = str | int | slice
NO_TEXT: dict[str, Any] = {}
"""What a template makes of fields that are objects: no text, so that the row is dropped and counted."""
_STEP = re.compile(r"\.?([^.\[\]{}]+)|\[(-?\d*)(:?)(-?\d*)\]")
_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|([{}])")


class Path:
    """The way from a row to one of its fields. What is no path, such as `[a`, is the name of a column."""

    def __init__(self, text: str):
        self.text = text
        self.steps = tuple(_steps(text)) or (text,)

    def __call__(self, row: Any) -> Any:
        """The value, a list where the path has a slice, or None if the row has no such field."""
        if isinstance(row, dict) and self.text in row:
            return row[self.text]
        return _follow(row, self.steps)

    @property
    def column(self) -> str:
        """The column that the path begins with; empty if it begins with a position."""
        return self.steps[0] if isinstance(self.steps[0], str) else ""


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

    def __call__(self, row: Any) -> Any:
        """The value of a path as it is; otherwise a text, None if no field of it is there, NO_TEXT if one is no text."""
        if len(self.parts) == 1 and isinstance(self.parts[0], Path):
            return self.parts[0](row)
        values = [part if isinstance(part, str) else _text(part(row)) for part in self.parts]
        if None in values:
            return NO_TEXT
        found = any(value for value, part in zip(values, self.parts, strict=True) if isinstance(part, Path))
        return "".join(value for value in values if value is not None).strip() if found else None


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
