"""Fields by path and texts of several fields, and conditions on rows that are parsed and never run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gte_ray.errors import UsageError
from gte_ray.readers.paths import Path, Template
from gte_ray.readers.where import Condition

ROW = {
    "title": "t",
    "body": {"text": "b", "n": 3},
    "answers": [{"text": "a0", "by": ["x", "y"]}, {"text": "a1"}, {"by": ["z"]}],
    "a.b": "dotted",
    "score": "4",
    "label": 1,
    "lang": "en",
    "empty": None,
    "flag": True,
    "the name": "n",
    "zero": "0",
    "no": "False",
    "id": "9007199254740993",
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("title", "t"),
        ("body.text", "b"),
        ("answers[0].text", "a0"),
        ("answers[-2].text", "a1"),
        ("answers[1:].text", ["a1", None]),
        ("answers[:2].text", ["a0", "a1"]),
        ("answers[].by[]", ["x", "y", "z"]),
        ("answers[].by[0]", ["x", None, "z"]),
        ("answers[7].text", None),
        ("answers.text", None),
        ("title[0]", None),
        ("body.none.deeper", None),
        ("a.b", "dotted"),
        ("the name", "n"),
        ("[no path", None),
    ],
)
def test_paths(path, value):
    assert Path(path)(ROW) == value


def test_positions_of_a_row_that_is_a_list():
    assert Path("[1]")(["q", "d"]) == "d"
    assert Path("[1].text")(["q", {"text": "d"}]) == "d"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{title}\n{body.text}", "t\nb"),
        ("{title}: {empty}", "t"),
        ("{empty}{none}", None),
        ("{{{title}}} {body.n}", "{t} 3"),
        ("{answers[:2].text}", "a0 a1"),
        ("answers[:2].text", ["a0", "a1"]),
        ("title", "t"),
        ("{body}", {}),
        ("{title} {flag}", {}),
        ("{answers}", {}),
        ("{label}{none}", "1"),
    ],
)
def test_templates(text, value):
    assert Template(text)(ROW) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{answers[].text}. {title}", ["a0. t", "a1. t", "t"]),
        ("{answers[].text}{answers[].by[0]}", ["a0x", "a1", "z"]),
        ("answers[:2].text", ["a0", "a1"]),
        ("{title}: {lang}", "t: en"),
        ("{none[].x} {title}", []),
    ],
)
def test_a_template_over_a_list_has_a_text_for_each_item(text, value):
    assert Template(text).each(ROW) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{empty}. {title}", "t"),
        ("{title}. {empty}. {lang}", "t. en"),
        ("{title} - {empty} - {none}", "t"),
        ("Q: {empty}, {title}!", "Q: t!"),
    ],
)
def test_what_stands_between_fields_goes_with_an_empty_one(text, value):
    assert Template(text)(ROW) == value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("text|after:[SEP]", "b [SEP] c"),
        ("text|before:[SEP]", "a"),
        ("other|after:[SEP]", "no mark"),
        ("other|before:[SEP]", None),
        ("page|first-line", "one"),
        ("page|other-lines", "two\nthree"),
        ("other|other-lines", ""),
        ("list[]|first-line", ["x", 3]),
        ("number|first-line", 3),
        ("a|first-line", "a column of that very name"),
        ("text|unknown", None),
        ("spoken|language", "de"),
        ("number|language", ""),
    ],
)
def test_parts_of_a_text(path, value):
    row = {
        "text": "a [SEP] b [SEP] c",
        "other": "no mark",
        "page": "\n one \ntwo\nthree\n",
        "list": ["x\ny", 3],
        "number": 3,
        "spoken": "Das Wetter an der Küste ist heute schön, und die Boote kommen vor der Nacht.",
        "a|first-line": "a column of that very name",
    }
    assert Path(path)(row) == value


@pytest.mark.parametrize("text", ["{title", "title}", "{a{b}}"])
def test_braces_that_are_not_closed(text):
    with pytest.raises(UsageError, match=r"a field is \{name\}, a brace is written twice"):
        Template(text)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("score >= 3", True),
        ("score >= 5", False),
        ("2 < score < 5 and lang == 'en'", True),
        ("lang in ('de', 'en')", True),
        ("lang not in ['de', 'en']", False),
        ("'e' in lang", True),
        ("label == 1", True),
        ("label == '1'", True),
        ("label != 1 or title == 't'", True),
        ("not lang == 'de'", True),
        ("len(title) == 1 and len(answers) > 2", True),
        ("len(none) == 0", True),
        ("body.n == 3 and answers[0].text == 'a0'", True),
        ("none > 3", False),
        ("none <= 3", False),
        ("empty == null", True),
        ("title > 3", False),
        ("flag == true", True),
        ("flag", True),
        ("flag == 1", False),
        ("row['the name'] == 'n' and row['a.b'] == 'dotted'", True),
        ("-1 < body.n", True),
        ("lang not in {'en', 'de'}", False),
        ("body['n'] == 3", True),
        ("row['body']['n'] == 3 and row['body'].n == 3", True),
        ("zero or no", False),
        ("not zero and label", True),
        ("id == 9007199254740993", True),
        ("id != 9007199254740993", False),
    ],
)
def test_conditions(text, holds):
    assert Condition(text)(ROW) is holds


@pytest.mark.parametrize(
    "text",
    ["", "score >=", "open('x')", "score + 1 > 2", "title.upper() == 'T'", "len(title, 2) > 1", "lambda: 1",
     "b'en' == lang", "answers[i] == 1", "(score+1).x != 2", "... == lang", "title is None", "[x for x in answers]", "__import__('os').system('true')", "f'{title}'"],
)  # fmt: skip
def test_what_is_no_condition_is_refused(text):
    with pytest.raises(
        UsageError, match=r"cannot be used; allowed are fields .row.'any name'. too., texts, numbers"
    ):
        Condition(text)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)


@given(SCALARS, SCALARS, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
def test_any_values_can_be_compared(left, right, sign):
    """Against Python's own comparison where both are of one kind."""
    found = Condition(f"a {sign} b")({"a": left, "b": right})
    if type(left) is type(right) and left is not None:
        assert found is eval(f"left {sign} right")
    else:
        assert isinstance(found, bool)
