"""Names as keys that MLflow allows."""

import re
from collections.abc import Mapping
from typing import Any


class Keys:
    """Gives each name a key that stands for it alone."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}

    def keyed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """`values` by their keys in place of their names."""
        for name in values:
            if name not in self._keys:
                key, taken = _allowed(name), set(self._keys.values())
                while key in taken:
                    key += "_"
                self._keys[name] = key
        return {self._keys[name]: value for name, value in values.items()}


def _allowed(name: str) -> str:
    """`name` with what MLflow allows in no key replaced: some characters, and parts that a path would lose."""
    key = re.sub(r"[^\w\-./: ]", "_", name)[:240]
    return "/".join("_" if part in ("", ".", "..") else part for part in key.split("/"))
