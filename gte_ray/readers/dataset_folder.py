"""The folder of a data set in the layout of the Hugging Face Hub, there or downloaded: which files a split has.

Its README names configs (subsets) and the files of their splits. Without that, as on the Hub, the words `train`, `test`
or `validation` in names of files and folders tell, and where no name has one, all files are the training split.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gte_ray.errors import RunError
from gte_ray.runtime import storage
from gte_ray.runtime.storage import FileStamp

TRAIN = "train"
HUB = re.compile(r"hf://datasets/[^/]+/[^/]+/?")
"""The folder of a data set on the Hub, with or without `@` and a revision."""
WORDS = {
    TRAIN: "train|training",
    "validation": "validation|valid|val|dev",
    "test": "test|testing|eval|evaluation",
}


class Chosen(NamedTuple):
    """What a source takes of a data set."""

    config: str = ""
    """Empty for the only one, or the one that the data set says is the default."""
    split: str = ""
    """Empty for the training split, or the only one."""


WHOLE = Chosen()
"""What is taken where nothing is said."""


def is_data_set(folder: str) -> bool:
    return HUB.fullmatch(folder) is not None or bool(_configs(folder))


def split_files(place: str, folder: str, chosen: Chosen) -> list[FileStamp]:
    """The files of a split, of whatever format. Raises RunError that begins with `place` if it is not clear which."""
    folder = storage.absolute(folder).rstrip("/")
    configs = _configs(folder)
    names = [str(config.get("config_name", "default")) for config in configs]
    if chosen.config and chosen.config not in names:
        raise RunError(f"{place}: {folder} has no config {chosen.config!r}; {_allowed(names)}")
    if not configs:
        splits = _by_words(folder, "")
    else:
        config = configs[names.index(chosen.config or _default(place, folder, configs, names))]
        splits = _splits(folder, config)
    split = chosen.split or (next(iter(splits)) if len(splits) == 1 else TRAIN)
    if split not in splits:
        raise RunError(f"{place}: {folder} has no split {split!r}; {_allowed(list(splits))}")
    return splits[split]


def _default(place: str, folder: str, configs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    marked = [name for config, name in zip(configs, names, strict=True) if config.get("default")]
    if len(names) > 1 and not marked and "default" not in names:
        raise RunError(
            f'{place}: {folder} has several configs; name one, as config = "{names[0]}"; {_allowed(names)}'
        )
    return [*marked, *(name for name in names if name == "default"), names[0]][0]


def _allowed(names: Sequence[str]) -> str:
    return f"allowed are {', '.join(names)}" if names else "it names none"


def _configs(folder: str) -> list[Mapping[str, Any]]:
    """What the README says of the files of each config; empty if it says nothing."""
    from huggingface_hub import DatasetCard

    path = storage.join(folder, "README.md")
    if not storage.exists(path):
        return []
    card = DatasetCard(storage.read_bytes(path).decode(errors="replace"), ignore_metadata_errors=True)
    configs = card.data.get("configs")
    if not isinstance(configs, list) or not all(isinstance(config, dict) for config in configs):
        return []
    return [config for config in configs if config.get("data_files") or config.get("data_dir")]


def _splits(folder: str, config: Mapping[str, Any]) -> dict[str, list[FileStamp]]:
    """The files of each split that a config names: patterns, or a folder."""
    below = str(config.get("data_dir") or "")
    named = config.get("data_files")
    if not named:
        return _by_words(folder, below)
    if isinstance(named, dict):
        named = [{"split": split, "path": paths} for split, paths in named.items()]
    entries = named if isinstance(named, list) else [named]
    patterns: dict[str, list[str]] = {}
    for entry in entries:
        split, paths = (entry["split"], entry["path"]) if isinstance(entry, dict) else (TRAIN, entry)
        patterns.setdefault(str(split), []).extend([paths] if isinstance(paths, str) else paths)
    base = storage.join(folder, below) if below else folder
    return {split: _matching(base, paths) for split, paths in patterns.items()}


def _matching(folder: str, patterns: Sequence[str]) -> list[FileStamp]:
    found = {
        file.uri: file
        for pattern in patterns
        for file in storage.glob(pattern if "://" in pattern else storage.join(folder, pattern))
    }
    return [found[uri] for uri in sorted(found)]


def _by_words(folder: str, below: str) -> dict[str, list[FileStamp]]:
    """All files, by the word of a split in the path of each; those without one are left out if others have one."""
    base = storage.join(folder, below.rstrip("/")) if below else folder
    files = [
        file
        for file in storage.glob(f"{base}/**/*")
        if storage.name(file.uri) not in ("README.md", ".gitattributes")
    ]
    splits: dict[str, list[FileStamp]] = {}
    for file in files:
        path = file.uri[len(base) :].lower()
        for split, words in WORDS.items():
            if re.search(rf"(?:^|[^a-z])(?:{words})(?:[^a-z]|$)", path):
                splits.setdefault(split, []).append(file)
                break
    return splits or {TRAIN: files}
