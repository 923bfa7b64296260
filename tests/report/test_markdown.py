"""Markdown as Rich's parser (markdown-it) reads it: what was written is what is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from gte_ray.report.markdown import code, code_block, escaped, markdown_table

NAMES = st.text(st.sampled_from("ab|\\<>*`[]() \n_!#&;"), max_size=12)
PARSER = MarkdownIt("commonmark").enable("table")


def shown(text: str) -> list[str]:
    """What a reader sees of each piece of `text`."""
    found = []
    for token in PARSER.parse(text):
        if token.type == "inline":
            found.append("".join(part.content for part in token.children))
        elif token.type == "fence":
            found.append(token.content)
    return found


@given(st.lists(st.lists(NAMES, min_size=2, max_size=2), min_size=1, max_size=3))
def test_cells_show_what_they_hold(rows):
    found = shown(markdown_table(["a|b", "<c>"], rows, numbers=True))
    assert found == ["a|b", "<c>", *(" ".join(cell.split()) for row in rows for cell in row)]


@pytest.mark.parametrize(
    "name", ["a [v2]", "<b>", "&lt;", "__x__", "*x*", "`x`", "[x](y)", "a\nb", "a|b", "\\"]
)
def test_headings_show_what_they_hold(name):
    assert shown(f"# {escaped(name)}") == [" ".join(name.split())]


@pytest.mark.parametrize("text", ["python -m x", "echo `date`", "a ``` b", "`"])
def test_code_shows_what_it_holds(text):
    assert shown(code(text)) == [text]
    assert shown(code_block(text)) == [f"{text}\n"]
