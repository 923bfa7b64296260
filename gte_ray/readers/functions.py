"""What a condition on rows may ask of a value: its length, its words, its letters, its language."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from gte_ray.runtime.imports import of_extra

LANGUAGE_CHARACTERS = 2_000
"""Characters of a text by which its language is told."""


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str | list | dict) else 0


def _words(value: Any) -> int:
    """Number of parts between spaces."""
    return len(value.split()) if isinstance(value, str) else 0


def _letters(value: Any) -> float:
    """Share of letters, of any script, among the characters that are no spaces; 0 for no text."""
    characters = (
        [character for character in value if not character.isspace()] if isinstance(value, str) else []
    )
    return sum(map(str.isalpha, characters)) / max(len(characters), 1)


def _language(value: Any) -> str:
    """Code by ISO 639-1, such as `en`; empty for no text."""
    if not isinstance(value, str) or not value.strip():
        return ""
    return str(_identifier().classify(value[:LANGUAGE_CHARACTERS])[0])


@lru_cache(maxsize=1)
def _identifier() -> Any:
    with of_extra("language", "language needs the package py3langid"):
        import py3langid
    return py3langid


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "len": _length,
    "words": _words,
    "letters": _letters,
    "language": _language,
}


def function(name: str) -> Callable[[Any], Any]:
    """The function of that name. Raises UsageError if it needs a package that is not installed; KeyError for none."""
    if name == "language":
        _identifier()
    return FUNCTIONS[name]
