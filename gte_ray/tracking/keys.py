"""Turns names into keys that MLflow allows."""

import re
from collections.abc import Mapping
from typing import Any


class Keys:
    """Maps each name to a unique key."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}

    def keyed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """`values` with each name replaced by its key."""
        for name in values:
            if name not in self._keys:
                key, taken = _allowed(name), set(self._keys.values())
                while key in taken:
                    key += "_"
                self._keys[name] = key
        return {self._keys[name]: value for name, value in values.items()}


def _allowed(name: str) -> str:
    """`name` without what MLflow rejects in a key: some characters, and parts that a path would drop."""
    key = re.sub(r"[^\w\-./: ]", "_", name)[:240]
    return "/".join("_" if part in ("", ".", "..") else part for part in key.split("/"))
