"""Dataclasses from the plain values of JSON, checked on the way, and back. The only importer of pydantic.

A stdlib dataclass stays one: constructing it checks nothing. `read` checks types and the constraints in its fields'
annotations, such as `Annotated[int, Ge(1)]`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from typing import Any, Self, TypeVar

LONGEST = 200
"""Characters of a value in a message."""
Kind = TypeVar("Kind")

# pydantic is imported where it is first used: --help and mistyped flags do without its tenth of a second.

_WORDS = {
    "finite_number": "a finite number",
    "greater_than_equal": "a number of at least {ge:g}",
    "greater_than": "a number above {gt:g}",
    "less_than_equal": "a number of at most {le:g}",
    "less_than": "a number below {lt:g}",
}
"""What is allowed, by pydantic's types of errors; pydantic's own words serve for the others."""


class Misfit(ValueError):
    """The first thing that keeps a plain value from being what it should; in one sentence."""

    def __init__(self, path: tuple[str | int, ...], problem: str):
        super().__init__(" ".join([".".join(map(str, path)), problem]).strip())
        self.path = path
        """Names of fields and places in lists, from the outermost."""
        self.problem = problem
        """The sentence without its subject."""


@dataclass(frozen=True)
class Allowed:
    """In an annotation, behind the constraints: what they allow, in words that say more than ours for them."""

    words: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.custom_error_schema(handler(source), "allowed", custom_error_message=self.words)


class Parsed(ABC):
    """A value that is written as a short text, on the command line, in JSON and in print alike."""

    @classmethod
    @abstractmethod
    def parse(cls, text: str) -> Self:
        """Returns the value whose `str` is `text`. Raises ValueError with what is allowed."""

    def __repr__(self) -> str:
        return repr(str(self))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            lambda value: cls.parse(str(value)),
            serialization=core_schema.to_string_ser_schema(when_used="always"),
        )


def read(kind: type[Kind], value: Any) -> Kind:
    """`value`, as `plain` or JSON gave it, as a `kind`; fields that `kind` does not have are passed over, unless its
    `__pydantic_config__` forbids them. Raises Misfit."""
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_python(value)  # type: ignore[arg-type] # a class is hashable
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise Misfit(first["loc"], _problem(first)) from error


def plain(value: Any) -> Any:
    """The dicts, tuples, texts and numbers that `value`, a dataclass, is made of."""
    return _adapter(type(value)).dump_python(value, warnings=False)  # type: ignore[arg-type]


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _problem(error: Any) -> str:
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "unexpected_keyword_argument":
        return "is unknown"
    words = _WORDS.get(error["type"], "").format(**error.get("ctx", {}))
    words = words or error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    shown = repr(error["input"])
    return f"is {shown if len(shown) < LONGEST else shown[:LONGEST] + '…'}; allowed is {words}"
