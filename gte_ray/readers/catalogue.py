"""The paper's sources by name: Table 1 and appendix A.1 for pre-training, A.3 for fine-tuning.

An entry says where a source is published, and has the settings by which its files become the paper's pairs. It is
data: a file of `catalogue_files/` for each group of Table 1, and one for fine-tuning.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from gte_ray.readers.spec import PRE_TRAINING_TASKS

PACKING = ("task", "files")
"""Settings of an entry that stand before those of its fields."""
ABOUT = ("about", "get", "licence", "published", "note", "sample")
"""What an entry has besides settings."""


@dataclass(frozen=True)
class Group:
    """A row of Table 1, or all of fine-tuning."""

    name: str
    task: str
    """Empty where each source has its own."""
    datasets: int
    pairs: int
    """The paper's number of pairs of the whole group."""
    fields: str
    entries: tuple["Entry", ...]


@dataclass(frozen=True)
class Entry:
    """A source of the paper."""

    name: str
    about: str
    get: str
    """How to get its files."""
    licence: str
    published: int
    """Number of pairs, or rows, that its publisher states; 0 for none."""
    note: str
    """What to know; what the paper leaves open."""
    sample: str
    """The beginning of a file, with invented texts. Of binary formats the rows as JSON Lines."""
    settings: MappingProxyType[str, Any]
    """What a file of sources would say of it."""


@cache
def groups() -> tuple[Group, ...]:
    """All groups, in the order of Table 1."""
    return tuple(_group(name) for name in (*PRE_TRAINING_TASKS, "fine-tuning"))


def catalogue() -> dict[str, Entry]:
    """All sources by name."""
    return {entry.name: entry for group in groups() for entry in group.entries}


def as_toml(name: str, settings: dict[str, Any]) -> str:
    """The settings of a source as a file of sources has them."""
    lines = [f"{key} = {_value(value)}" for key, value in settings.items()]
    return "\n".join([f"[sources.{name}]", *lines])


def template() -> str:
    """A file of sources with all entries: only where their files lie is left to say."""
    parts = [
        "# The paper's sources: where each lies. The settings of its rows come with its name, as in\n"
        "# `python -m gte_ray.sources NAME`; each of them can be given here instead. Delete what you do not have."
    ]
    for group in groups():
        parts.append(f"# {group.name}: {group.datasets} sources, {group.pairs:,} pairs in the paper")
        parts += [
            f"# {entry.about}\n{as_toml(entry.name, {'files': entry.settings['files']})}"
            for entry in group.entries
        ]
    return "\n\n".join(parts) + "\n"


def _group(name: str) -> Group:
    path = files(__package__).joinpath(f"catalogue_files/{name}.toml")
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    paper = content["paper"]
    task = paper.get("task", "")
    entries = tuple(_entry(key, value, task) for key, value in content["sources"].items())
    return Group(paper["group"], task, paper["datasets"], paper["pairs"], paper["fields"], entries)


def _entry(name: str, value: dict[str, Any], task: str) -> Entry:
    value = {"task": task, **value}
    settings = {key: value[key] for key in PACKING}
    settings |= {key: item for key, item in value.items() if key not in (*PACKING, *ABOUT)}
    return Entry(
        name,
        value["about"],
        value["get"],
        value["licence"],
        value.get("published", 0),
        value.get("note", ""),
        value["sample"].strip("\n") + "\n",
        MappingProxyType(settings),
    )


def _value(value: Any) -> str:
    """A value of TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, int):
        return f"{value:_}"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'
