"""The report as a page, in a real browser and without network."""

import re

import pytest

from gte_ray.report import page
from tests.browser import needs_chromium, new_page

NASTY = '<img src="http://127.0.0.1:9/x" onerror="document.title=1"> & co'
ROWS = [["a", "9.5", "3"], ["b", "10.5 ± 0.2", ""], ["c", "missing", "1,200"], [NASTY, "-2", "20"]]
GROUPS = [
    page.Group("first", (page.Bar("ours", 40.0, 10.0), page.Bar("paper", 50.0, other=True))),
    page.Group(NASTY, (page.Bar("ours", None), page.Bar("paper", 25.0, other=True))),
]
SVG = '<?xml version="1.0"?>\n<!DOCTYPE svg>\n<svg width="900" height="50"><rect width="900" height="50"/></svg>'


@pytest.fixture(scope="module")
def html() -> str:
    parts = [page.bars(GROUPS), page.table(["row", "score", "count"], ROWS), page.figure(SVG)]
    return page.page(
        f"A report {NASTY}", [page.paragraph(NASTY), page.code(NASTY), page.heading("more"), *parts]
    )


@pytest.fixture(scope="module")
def shown(html):
    with new_page(600) as found:
        asked: list[str] = []
        found.on("request", lambda request: asked.append(request.url))
        found.set_content(html)
        yield found, asked


def column(found, number: int) -> list[str]:
    return found.eval_on_selector_all(f"td:nth-child({number})", "cells => cells.map(c => c.textContent)")


def test_texts_show_as_they_are_and_nothing_is_asked_for(html):
    assert "<img" not in html and html.count("<svg") == 1 and "<?xml" not in html
    assert not re.search(r"(src|href)\s*=\s*[\"']", html.replace("&quot;", ""))


@needs_chromium
@pytest.mark.processes
def test_a_click_sorts_by_numbers_the_largest_first(shown):
    found, asked = shown
    assert column(found, 1) == ["a", "b", "c", NASTY]
    found.click("th:nth-child(2) button")
    assert column(found, 2) == ["10.5 ± 0.2", "9.5", "-2", "missing"]
    found.click("th:nth-child(2) button")
    assert column(found, 2) == ["-2", "9.5", "10.5 ± 0.2", "missing"]
    found.click("th:nth-child(3) button")
    assert column(found, 3) == ["1,200", "20", "3", ""]
    assert found.get_attribute("th:nth-child(3)", "aria-sort") == "descending"
    assert found.title() == f"A report {NASTY}" and asked == []


@needs_chromium
@pytest.mark.processes
def test_bars_are_as_long_as_their_values(shown):
    found, _ = shown
    widths = found.eval_on_selector_all(".bar", "bars => bars.map(b => b.getBoundingClientRect().width)")
    whole = found.eval_on_selector(".track", "track => track.getBoundingClientRect().width")
    assert [width / whole for width in widths] == pytest.approx([0.8, 1.0, 0.5], abs=0.01)
    interval = found.eval_on_selector(
        ".interval", "e => [e.getBoundingClientRect().left, e.getBoundingClientRect().width]"
    )
    left = found.eval_on_selector(".track", "track => track.getBoundingClientRect().left")
    assert [(interval[0] - left) / whole, interval[1] / whole] == pytest.approx([0.6, 0.4], abs=0.01)
    assert (
        found.evaluate("document.documentElement.scrollWidth") <= 600
    )  # also a wide figure and a wide table
    assert found.inner_text(".bars").count("not measured") == 1
