"""Markdown of arbitrary texts, escaped so that they show literally and break no table."""

import re
from collections.abc import Sequence


def escaped(text: str) -> str:
    """`text` on one line, with the characters escaped that Markdown would interpret."""
    # Markdown does not interpret an underscore within a word.
    return re.sub(r"([\\|<&*`\[]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", " ".join(text.split()))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = False) -> str:
    """A table. With `numbers`, all columns but the first are right-aligned."""
    rule = ["---"] + ["---:" if numbers else "---"] * (len(header) - 1)
    lines = [map(escaped, header), rule, *(map(escaped, row) for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def code(text: str) -> str:
    """`text` as inline code, between more backticks than it has in a row."""
    fence = _fence(text, 1)
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


def code_block(text: str, language: str = "") -> str:
    """`text` as a fenced code block."""
    fence = _fence(text, 3)
    return f"{fence}{language}\n{text}\n{fence}"


def _fence(text: str, fewest: int) -> str:
    return "`" * max(fewest, 1 + max(map(len, re.findall("`+", text)), default=0))
