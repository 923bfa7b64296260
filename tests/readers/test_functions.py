"""What conditions on rows ask of a text."""

import sys

import pytest

from gte_ray.errors import UsageError
from gte_ray.readers import functions
from gte_ray.readers.paths import Path
from gte_ray.readers.reading import Reading
from gte_ray.readers.where import Condition
from tests.data.conftest import write_lines
from tests.readers.reading import read_as

GERMAN = "Der Hund schläft im Garten, und niemand weckt ihn auf."
ENGLISH = "The dog sleeps in the garden, and nobody wakes it up."


@pytest.mark.parametrize(
    ("condition", "value", "expected"),
    [
        ("words(x) == 3", " a  b\tc ", True),
        ("words(x) == 0", "", True),
        ("words(x) == 0", 5, True),
        ("len(x) == 3", ["a", "b", "c"], True),
        ("letters(x) == 0.5", "ab 12", True),
        ("letters(x) == 1", "Straße 東京", True),
        ("letters(x) == 0", " ", True),
        ("letters(x) > 0.6", "#### |--| 3.14", False),
        ("language(x) == 'de'", GERMAN, True),
        ("language(x) in ['en', 'fr']", ENGLISH, True),
        ("language(x) == ''", " ", True),
        ("language(x) == 'en' and words(x) > 20", ENGLISH, False),
    ],
)
def test_a_function_of_a_field(condition, value, expected):
    assert Condition(condition)({"x": value}) is expected


def test_texts_are_kept_by_their_language_and_the_others_counted(tmp_path):
    path = write_lines(
        tmp_path / "x.jsonl", [{"q": f"{n}", "d": text} for n, text in enumerate([GERMAN, ENGLISH] * 3)]
    )
    found = read_as(path, Reading("q", "d", where="language(d) == 'en'"))
    assert [pair[1] for pair in found.pairs] == [ENGLISH] * 3
    assert found.dropped == {"not as where says": 3}


def test_what_is_no_function_is_refused_with_those_that_are():
    for text in (
        "upper(x) == 'A'",
        "words(x, y) == 1",
        "words() == 1",
        "x.words() == 1",
        "words(text=x) == 1",
    ):
        with pytest.raises(
            UsageError, match=r"cannot be used; allowed are .*len\(\), words\(\), letters\(\), language\(\)"
        ):
            Condition(text)


def test_a_package_that_is_not_installed_is_told_when_the_condition_is_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "py3langid", None)
    functions._identifier.cache_clear()
    with pytest.raises(UsageError, match=r"language needs the package py3langid .*gte_ray\[language\]"):
        Condition("language(x) == 'en'")
    with pytest.raises(UsageError, match=r"language needs the package py3langid"):
        Path("x|language")
    functions._identifier.cache_clear()
