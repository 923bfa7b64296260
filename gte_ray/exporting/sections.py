"""Sections that are added to the card of a model's folder once it is written."""

import re

from gte_ray.runtime import storage

CARD_FILE = "README.md"
"""In a model folder."""


def add_section(folder: str, title: str, text: str) -> None:
    """Adds a section to the card in `folder`, a path or URI, in place of one of that title."""
    path = storage.join(folder, CARD_FILE)
    card = storage.read_bytes(path).decode() if storage.exists(path) else ""
    others = re.split(rf"^## {re.escape(title)}$.*?(?=^## |\Z)", card, flags=re.MULTILINE | re.DOTALL)
    before = "".join(others).rstrip()
    storage.write_bytes(path, f"{before}\n\n## {title}\n\n{text}\n".encode())
