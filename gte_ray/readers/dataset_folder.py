"""The folder of a data set in the layout of the Hugging Face Hub, there or downloaded: which files a split has.

Its README names configs (subsets) and the files of their splits. Without that, as on the Hub, the words `train`, `test`
or `validation` in names of files and folders tell, and where no name has one, all files are the training split.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from yaml import YAMLError

from gte_ray.errors import RunError
from gte_ray.runtime import storage
from gte_ray.runtime.storage import FileStamp

README = "README.md"
OTHER_FILES = (
    README,
    ".gitattributes",
    "dataset_infos.json",
    "dataset_info.json",
    "dataset_dict.json",
    "state.json",
)
"""Files that say something of a data set."""
NUMBERED = re.compile(r"(\w[\w.]*)-\d{5}-of-\d{5}\.")
"""Names of the files that the Hub's own tools write."""
TRAIN = "train"
HUB = re.compile(r"hf://datasets/[^/]+/[^/]+/?")
"""The folder of a data set on the Hub, with or without `@` and a revision."""
WORDS = {
    TRAIN: "train|training",
    "validation": "validation|valid|val|dev",
    "test": "test|testing|eval|evaluation",
}


_UNREADABLE = (YAMLError, TypeError, ValueError, KeyError, AttributeError)
"""What a README that says something else may lead to."""


class Chosen(NamedTuple):
    """What a source takes of a data set."""

    config: str = ""
    """Empty for the only one, or the one that the data set says is the default."""
    split: str = ""
    """Empty for the training split, or the only one."""


WHOLE = Chosen()
"""What is taken where nothing is said."""


def is_data_set(folder: str) -> bool:
    """Whether a folder that may hold anything is one: on the Hub it is, elsewhere if its README names files."""
    if HUB.fullmatch(folder):
        return True
    try:
        return bool(_configs(folder))
    except _UNREADABLE:
        return True  # `split_files` says so


def split_files(place: str, folder: str, chosen: Chosen) -> list[FileStamp]:
    """The files of a split, of whatever format. Raises RunError that begins with `place` if it is not clear which."""
    folder = storage.absolute(folder).rstrip("/")
    try:
        configs = _configs(folder)
        names = [str(config.get("config_name", "default")) for config in configs]
        if chosen.config and chosen.config not in names:
            raise RunError(f"{place}: {folder} has no config {chosen.config!r}; {_allowed(names)}")
        if configs:
            config = configs[names.index(chosen.config or _default(place, folder, configs, names))]
            splits = _splits(folder, config)
        else:
            splits = _by_names(folder, "")
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(
            f"{place}: {folder}/{README} does not say which files there are ({reason}); name them, as by {folder}/*"
        ) from error
    split = chosen.split or (next(iter(splits)) if len(splits) == 1 else TRAIN)
    if split not in splits:
        raise RunError(f"{place}: {folder} has no split {split!r}; {_allowed(list(splits))}")
    if not splits[split]:
        raise RunError(f"{place}: {folder} has none of the files that its {README} names for {split}")
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

    path = storage.join(folder, README)
    text = storage.read_bytes(path).decode("utf-8-sig", "replace") if storage.exists(path) else ""
    if not text.lstrip().startswith("---"):
        return []
    configs = DatasetCard(text.lstrip(), ignore_metadata_errors=True).data.get("configs")
    if configs is None:
        return []
    if not isinstance(configs, list) or not all(isinstance(config, dict) for config in configs):
        raise TypeError("configs is no list of tables")
    return [config for config in configs if config.get("data_files") or config.get("data_dir")]


def _splits(folder: str, config: Mapping[str, Any]) -> dict[str, list[FileStamp]]:
    """The files of each split that a config names: patterns, or a folder."""
    below = str(config.get("data_dir") or "")
    named = config.get("data_files")
    if not named:
        return _by_names(folder, below)
    if isinstance(named, dict):
        named = [{"split": split, "path": paths} for split, paths in named.items()]
    entries = named if isinstance(named, list) else [named]
    patterns: dict[str, list[str]] = {}
    for entry in entries:
        if isinstance(entry, dict) and not {"split", "path"} <= entry.keys():
            raise TypeError(f"an entry of data_files has no {'split' if 'path' in entry else 'path'}")
        split, paths = (entry["split"], entry["path"]) if isinstance(entry, dict) else (TRAIN, entry)
        patterns.setdefault(str(split), []).extend([paths] if isinstance(paths, str) else paths)
    return {split: _matching(_below(folder, below), paths) for split, paths in patterns.items()}


def _below(folder: str, name: str) -> str:
    """A folder in the data set. Raises ValueError for one outside of it."""
    if "://" in name or name.startswith("/") or ".." in name.split("/"):
        raise ValueError(f"{name} is outside of the data set")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return storage.join(folder, *parts) if parts else folder


def _matching(folder: str, patterns: Sequence[str]) -> list[FileStamp]:
    found = {file.uri: file for pattern in patterns for file in storage.glob(_below(folder, pattern))}
    return [found[uri] for uri in sorted(found)]


def _by_names(folder: str, below: str) -> dict[str, list[FileStamp]]:
    """All files by split: that of numbered files (`SPLIT-00000-of-00002`), else by the word of one in each path.

    Files that have none are left out if others have one.
    """
    base = _below(folder, below)
    files = [file for file in storage.glob(f"{base}/**/*") if storage.name(file.uri) not in OTHER_FILES]
    splits: dict[str, list[FileStamp]] = {}
    for file in files:
        numbered = NUMBERED.match(storage.name(file.uri))
        if numbered:
            splits.setdefault(numbered[1], []).append(file)
    if splits:
        return splits
    for file in files:
        path = file.uri[len(base) :].lower()
        for split, words in WORDS.items():
            if re.search(rf"(?:^|[^a-z])(?:{words})(?:[^a-z]|$)", path):
                splits.setdefault(split, []).append(file)
                break
    return splits or {TRAIN: files}
