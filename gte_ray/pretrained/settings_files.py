"""The JSON files of a model folder."""

import json
from pathlib import Path
from typing import Any

from gte_ray.errors import RunError


class SettingsFiles:
    """Reads the JSON files of a model folder, and builds the error for an unsupported setting."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, name

    def read(self, path: str) -> dict[str, Any]:
        """The object in a JSON file; empty if there is no file."""
        value = self.parse(path) if (self.folder / path).is_file() else {}
        if not isinstance(value, dict):
            raise RunError(f"{self.name}: {path} is not an object in JSON")
        return value

    def parse(self, path: str) -> Any:
        try:
            return json.loads((self.folder / path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunError(f"{self.name}: {path} is not JSON ({error})") from error

    def refusal(self, path: str, key: str, value: Any, allowed: str) -> RunError:
        return RunError(f"{self.name}: {path} says {key} = {json.dumps(value)}; allowed is {allowed}")
