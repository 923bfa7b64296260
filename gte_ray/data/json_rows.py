"""JSON files as values: one in each line, or all in one array, which is never in memory as a whole."""

import io
import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

from gte_ray.data.values import NAME_TWICE, NOT_JSON
from gte_ray.errors import RunError

ARRAY = re.compile(r"\s*\[\s*[\[{]")
"""How a file that is one JSON array of objects or lists begins."""
ARRAY_CHARACTERS = 2**20
"""Characters of a JSON array that are read at a time."""
LARGEST_ROW = 2**26
"""Characters after which what should be one row of a JSON array is taken to be broken."""
LONGEST_INTEGER = 400
"""Digits from which on a number is read as a float."""
_BETWEEN = re.compile(r"[\s,]*")


class _NameTwiceError(Exception):
    """An object has a name twice: which of the values is meant?"""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _NameTwiceError
    return found


def _integer(digits: str) -> float:
    """Python refuses to read an integer of thousands of digits, which no text is anyway."""
    return int(digits) if len(digits) < LONGEST_INTEGER else float(digits)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer)


def line_values(lines: io.TextIOWrapper, uri: str) -> Iterator[Any]:
    """The value of each line that is not empty, or why it is dropped; RunError where the first begins a larger one."""
    first = True
    for line in lines:
        line = line.strip().strip("\ufeff")  # of each file that was put behind another
        if not line:
            continue
        if first and line in ("[", "{"):
            raise RunError(f"{uri}: is one JSON value; allowed is JSON Lines, one row in each line")
        first = False
        try:
            yield _DECODER.decode(line)
        except _NameTwiceError:
            yield NAME_TWICE
        except (ValueError, RecursionError):
            yield NOT_JSON


def array_values(text: io.TextIOWrapper, uri: str) -> Iterator[Any]:
    """The items of a JSON array, or why one is dropped; RunError where it is cut off or broken."""
    buffer = text.read(ARRAY_CHARACTERS)
    place = buffer.index("[") + 1
    while True:
        place += len(_BETWEEN.match(buffer, place)[0])  # type: ignore[index]
        if buffer.startswith("]", place):
            rest = chain([buffer[place + 1 :]], iter(lambda: text.read(ARRAY_CHARACTERS), ""))
            if any(part.strip() for part in rest):
                raise RunError(
                    f"{uri}: holds more behind its JSON array; allowed is one array, or one row in each line"
                )
            return
        try:
            value, place = _item(buffer, place)
        except (ValueError, RecursionError) as error:
            added = text.read(ARRAY_CHARACTERS) if len(buffer) - place < LARGEST_ROW else ""
            if not added:
                raise RunError(f"{uri}: is a JSON array that is cut off or broken ({error})") from error
            buffer, place = buffer[place:] + added, 0
        else:
            yield value


def _item(buffer: str, place: int) -> tuple[Any, int]:
    """The value that begins at `place`, and where it ends."""
    try:
        return _DECODER.raw_decode(buffer, place)
    except _NameTwiceError:
        return NAME_TWICE, json.JSONDecoder(parse_int=_integer).raw_decode(buffer, place)[1]
