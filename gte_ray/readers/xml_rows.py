"""Rows of an XML file: all elements of one name, as objects like those of JSON. The file is never in memory as a whole.

<row Id="4" Title="A" />                              {"Id": "4", "Title": "A"}
<page><title>A</title><rev><id>3</id></rev></page>    {"title": "A", "rev": {"id": "3"}}

A child that is there several times is a list. An element with text is that text, with the text of its children, also if all
of it is in <i>, <b> and their like: what attributes it has are left out.
"""

import io
from collections.abc import Iterator
from typing import Any
from xml.parsers import expat

from gte_ray.errors import RunError

CHUNK_BYTES = 2**18
"""Bytes that are parsed at a time."""
DEEPEST = 1_000
"""Most elements around each other, inside a row."""

INLINE = frozenset(["b", "bold", "em", "i", "italic", "sc", "strong", "sub", "sup", "u", "underline"])
"""Elements that mark up a part of a text."""


class _Refused(Exception):
    """The file has what is refused; the message says what."""


class _Element:
    """An element of a row that is not closed yet."""

    __slots__ = ("attributes", "has_text", "members", "texts")

    def __init__(self, attributes: dict[str, str]):
        self.attributes = attributes
        self.members: dict[str, Any] = {}
        self.texts: list[str] = []
        """Its text and that of its children, in order."""
        self.has_text = False
        """Whether some of it is its own, and no white space."""

    def close(self, is_row: bool) -> Any:
        marked_up = self.members and not (is_row or self.attributes) and self.members.keys() <= INLINE
        if self.has_text or marked_up or not (self.members or self.attributes):
            return "".join(self.texts)
        return self.attributes | self.members

    def add(self, name: str, value: Any, texts: list[str]) -> None:
        self.texts += texts
        if name not in self.members:
            self.members[name] = value
        elif isinstance(self.members[name], _Several):
            self.members[name].append(value)
        else:
            self.members[name] = _Several([self.members[name], value])


class _Several(list):
    """The values of children of one name. (A child's own value is never a list.)"""


class _Rows:
    """Gathers the elements that are rows while the parser goes over the file."""

    def __init__(self, name: str, encoding: str):
        self.name = name
        self.open: list[_Element] = []
        self.rows: list[Any] = []
        self.parser = expat.ParserCreate(encoding or None)
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.EntityDeclHandler = self._entity

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if self.open or name == self.name:
            if len(self.open) == DEEPEST:
                raise _Refused(f"has more than {DEEPEST:,} elements around each other")
            self.open.append(_Element(attributes))

    def _end(self, name: str) -> None:
        if not self.open:
            return
        element = self.open.pop()
        value = element.close(is_row=not self.open)
        if self.open:
            self.open[-1].add(name, value, element.texts)
        else:
            self.rows.append(value if isinstance(value, dict) else {"value": value})

    def _text(self, text: str) -> None:
        if self.open:
            self.open[-1].texts.append(text)
            self.open[-1].has_text |= not text.isspace()

    def _entity(self, name: str, *_: Any) -> None:
        raise _Refused(
            f"declares an entity, {name!r}, which is refused: a few of them can stand for gigabytes"
        )


def xml_values(
    stream: io.BufferedReader, name: str, uri: str, encoding: str = ""
) -> Iterator[dict[str, Any]]:
    """Yields each element `name` that is in no other one. `encoding` replaces what the file says of itself.

    Raises RunError for a file that is not well-formed to its end, or that declares entities.
    """
    if not name:
        raise RunError(
            f"{uri}: rows is not set; an XML file needs the name of the elements that are rows, such as row or page"
        )
    gathered = _Rows(name, encoding)
    try:
        while content := stream.read(CHUNK_BYTES):
            gathered.parser.Parse(content)
            yield from gathered.rows
            gathered.rows.clear()
        gathered.parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise RunError(f"{uri}: is not XML to its end: {error}") from error
    except _Refused as error:
        raise RunError(f"{uri}: {error}") from error
