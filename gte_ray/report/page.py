"""A report as one HTML file that needs no network: tables that sort, bars with intervals, figures, light and dark."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

COLOURS = ("#2563eb", "#f59e0b", "#059669", "#db2777", "#7c3aed", "#0891b2", "#b45309", "#4b5563")
"""Of the bars, one after another."""
STYLE = """
:root { color-scheme: light dark; --ink: #1f2937; --paper: #fff; --line: #e5e7eb; --faint: #6b7280; }
@media (prefers-color-scheme: dark) { :root { --ink: #e5e7eb; --paper: #111827; --line: #374151; --faint: #9ca3af; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 72rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.scroll, .bars, .figure { margin: 1.2rem 0; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; }
th[aria-sort=ascending] button::after { content: " \\2191"; } th[aria-sort=descending] button::after { content: " \\2193"; }
code { overflow-wrap: anywhere; }
.bars { display: grid; grid-template-columns: max-content minmax(8rem, 1fr) max-content; gap: .15rem .7rem;
  align-items: center; }
.bars .group { grid-column: 1 / -1; margin-top: .6rem; font-weight: 600; }
.track { position: relative; height: 1rem; background: var(--line); border-radius: 2px; }
.bar { position: absolute; inset: 0 auto 0 0; border-radius: 2px; }
.bar.other { opacity: .45; }
.interval { position: absolute; top: 50%; border-top: 2px solid var(--ink); }
.figure { background: #fff; } .figure svg { max-width: 100%; height: auto; }
.faint { color: var(--faint); }
"""
SCRIPT = """
const value = cell => { const n = parseFloat(cell.textContent.replaceAll(",", "")); return isNaN(n) ? null : n; };
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const head = button.parentElement, table = head.closest("table"), body = table.tBodies[0];
  const column = head.cellIndex, up = head.getAttribute("aria-sort") === "descending";
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const order = (a, b) => {
    const [x, y] = [a.cells[column], b.cells[column]], [m, n] = [value(x), value(y)];
    if (m === null && n === null) return (up ? 1 : -1) * x.textContent.localeCompare(y.textContent);
    if (m === null || n === null) return m === null ? 1 : -1;
    return up ? m - n : n - m;
  };
  body.append(...[...body.rows].sort(order));
});
"""


class Bar(NamedTuple):
    label: str
    value: float | None
    """None for what was not measured."""
    half: float = 0.0
    """Half the width of its interval; 0 for none."""
    other: bool = False
    """Whether it is somebody else's, such as the paper's, and drawn paler."""


@dataclass(frozen=True)
class Group:
    """Bars under one heading, which may be empty."""

    name: str
    bars: tuple[Bar, ...]


def page(title: str, parts: Sequence[str]) -> str:
    """The file: `parts` are HTML, as the functions below give it, under the title."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(parts)
        + f"\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, faint: bool = False) -> str:
    return f'<p class="faint">{escape(text)}</p>' if faint else f"<p>{escape(text)}</p>"


def code(text: str) -> str:
    return f"<p><code>{escape(text)}</code></p>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that is sorted by a column when its head is clicked, the largest first, and as a number where it begins with one."""
    heads = "".join(f'<th scope="col"><button>{escape(name) or "&nbsp;"}</button></th>' for name in header)
    lines = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead>\n<tbody>\n{lines}\n</tbody></table></div>'


def bars(groups: Sequence[Group]) -> str:
    """Horizontal bars from 0 to the largest value, intervals included; those of one label have one colour."""
    every = [bar for group in groups for bar in group.bars]
    largest = max((bar.value + bar.half for bar in every if bar.value is not None), default=0.0)
    colours = {
        label: COLOURS[number % len(COLOURS)]
        for number, label in enumerate(dict.fromkeys(b.label for b in every))
    }
    lines = []
    for group in groups:
        lines += [f'<span class="group">{escape(group.name)}</span>'] * bool(group.name)
        lines += [_bar(bar, largest or 1.0, colours[bar.label]) for bar in group.bars]
    return '<div class="bars">\n' + "\n".join(lines) + "\n</div>"


def _bar(bar: Bar, largest: float, colour: str) -> str:
    if bar.value is None:
        return f'<span>{escape(bar.label)}</span><span class="track"></span><span class="faint">not measured</span>'
    width = 100 * max(bar.value, 0.0) / largest
    kind = "bar other" if bar.other else "bar"
    drawn = f'<span class="{kind}" style="width: {width:.2f}%; background: {colour}"></span>'
    shown = f"{bar.value:.1f}"
    if bar.half:
        low = 100 * max(bar.value - bar.half, 0.0) / largest
        high = 100 * max(bar.value + bar.half, 0.0) / largest
        drawn += f'<span class="interval" style="left: {low:.2f}%; width: {high - low:.2f}%"></span>'
        shown += f" ± {bar.half:.1f}"
    return f'<span>{escape(bar.label)}</span><span class="track">{drawn}</span><span>{shown}</span>'


def figure(svg: str) -> str:
    """A drawing, from the text of an SVG file."""
    return f'<div class="figure">{re.sub(r"^.*?(?=<svg)", "", svg, flags=re.DOTALL)}</div>'
