"""Reads the values of JSON files: one per line, or one array, which is never in memory as a whole."""

import io
import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

from gte_ray.errors import RunError
from gte_ray.readers.values import NAME_TWICE, NOT_JSON

ARRAY = re.compile(r"\s*\[\s*[\[{]")
"""Beginning of a file that is one JSON array of objects or lists."""
ARRAY_CHARACTERS = 2**20
"""Characters of a JSON array read at a time."""
LARGEST_ROW = 2**26
"""Maximum characters of one row of a JSON array; a longer one is assumed to be broken."""
LARGEST_VALUE = 2**30
"""Maximum characters of a file that is one JSON value with the rows somewhere inside."""
LONGEST_INTEGER = 400
"""Integers of at least this many digits are read as floats."""
_BETWEEN = re.compile(r"[\s,]*")


class _NameTwiceError(Exception):
    """An object has the same name twice, so its value is ambiguous."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise _NameTwiceError
    return members


def _integer(digits: str) -> float:
    """Python refuses to parse integers of thousands of digits; a number is not a text anyway."""
    return int(digits) if len(digits) < LONGEST_INTEGER else float(digits)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer)


def line_values(lines: io.TextIOWrapper, uri: str, beginning: bool = True) -> Iterator[Any]:
    """Yields the value of each line that is not empty, or the reason to drop it.

    Raises RunError if the first line of a file, at its `beginning`, is the start of a value that spans several.
    """
    first = beginning
    for line in lines:
        line = line.strip().strip("\ufeff")  # byte order marks of concatenated files
        if not line:
            continue
        if first and line in ("[", "{"):
            raise RunError(f"{uri}: is one JSON value; allowed is JSON Lines, one row in each line")
        first = False
        try:
            yield _DECODER.decode(line)
        except _NameTwiceError:
            yield NAME_TWICE.of(line)
        except (ValueError, RecursionError):
            yield NOT_JSON.of(line)


def whole_values(text: io.TextIOWrapper, uri: str) -> Iterator[Any]:
    """Yields the one value that a file is, or those of its lines if the first line is one by itself.

    Raises RunError if it is neither, or too large to be one value.
    """
    first = text.readline()
    try:
        yield _DECODER.decode(first.strip().strip("\ufeff"))
    except (ValueError, RecursionError, _NameTwiceError):
        content = first + text.read(LARGEST_VALUE)
        if len(content) > LARGEST_VALUE:
            raise RunError(
                f"{uri}: is one JSON value of more than {LARGEST_VALUE:,} characters; split it"
            ) from None
        try:
            yield _DECODER.decode(content.strip().strip("\ufeff"))
        except (ValueError, RecursionError, _NameTwiceError) as error:
            raise RunError(
                f"{uri}: is neither JSON nor JSON Lines ({str(error) or 'a name twice'})"
            ) from error
        return
    yield from line_values(text, uri)


def array_values(text: io.TextIOWrapper, uri: str) -> Iterator[Any]:
    """Yields the items of a JSON array, or the reason to drop one.

    Raises RunError if the array is cut off or broken.
    """
    buffer = text.read(ARRAY_CHARACTERS)
    position = buffer.index("[") + 1
    while True:
        position += len(_BETWEEN.match(buffer, position)[0])  # type: ignore[index]
        if buffer.startswith("]", position):
            rest = chain([buffer[position + 1 :]], iter(lambda: text.read(ARRAY_CHARACTERS), ""))
            if any(part.strip() for part in rest):
                raise RunError(
                    f"{uri}: holds more behind its JSON array; allowed is one array, or one row in each line"
                )
            return
        try:
            value, position = _item(buffer, position)
        except (ValueError, RecursionError) as error:
            added = text.read(ARRAY_CHARACTERS) if len(buffer) - position < LARGEST_ROW else ""
            if not added:
                raise RunError(f"{uri}: is a JSON array that is cut off or broken ({error})") from error
            buffer, position = buffer[position:] + added, 0
        else:
            yield value


def _item(buffer: str, position: int) -> tuple[Any, int]:
    """The value that begins at `position`, or NAME_TWICE, and the position of its end."""
    try:
        return _DECODER.raw_decode(buffer, position)
    except _NameTwiceError:
        return NAME_TWICE, json.JSONDecoder(parse_int=_integer).raw_decode(buffer, position)[1]
