"""Files of sources in TOML: where each source lies and how its rows become pairs.

[sources.tickets]
files = "s3://bucket/tickets/*.jsonl.zst"
task = "community-qa"
query = "{subject}\\n{body.text}"
document = "answers[0].text"
negatives = "answers[1:].text"
where = "score >= 3 and lang == 'en'"
limit = 2_000_000

[sources.superuser]
files = "Posts.xml"
rows = "row"
task = "community-qa"
query = "{Title}\\n{Body|plain}"
document = "answer.Body|plain"
join.answer = {files = "Posts.xml", rows = "row", on = "AcceptedAnswerId", key = "Id"}

[sources.simple-wiki]
files = "hf://datasets/sentence-transformers/simple-wiki"
config = "pair"
task = "knowledge-base"

[sources.gooaq]                 # of the catalogue: all of it is known
files = "gooaq_pairs.jsonl.gz"  # but that it lies here
"""

import tomllib
from collections.abc import Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from gte_ray.errors import RunError, UsageError
from gte_ray.readers.catalogue import catalogue
from gte_ray.readers.dataset_folder import Chosen
from gte_ray.readers.input_files import Globs
from gte_ray.readers.join import Join
from gte_ray.readers.reading import SHAPES, Reading
from gte_ray.readers.spec import SourceSpec
from gte_ray.runtime import storage

_READING = {field.name for field in fields(Reading)}
READING_KEYS: dict[str, type] = {name: list if name == "columns" else str for name in sorted(_READING)}
KEYS = {
    **{"files": str, "task": str, "config": str, "split": str, "exclude": str, "limit": int},
    **{"allow_drops": bool, "join": dict},
    **READING_KEYS,
}
"""What a source may have, and the type of each."""
JOIN_KEYS = {
    **{"files": str, "on": str, "key": str, "best": str, "exclude": str, "config": str, "split": str}
} | {name: kind for name, kind in READING_KEYS.items() if name not in SHAPES}
"""The same of a join."""


def read_source_file(uri: str) -> list[SourceSpec]:
    """The sources of a TOML file; relative patterns are those of the working directory, as on the command line.

    Raises RunError for a file that cannot be read, UsageError with one sentence for a key or value that cannot be used.
    """
    try:
        content = tomllib.loads(storage.read_bytes(uri).decode())
    except FileNotFoundError as error:
        raise RunError(f"{uri}: missing") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{uri}: not a TOML file ({error})") from error
    _refuse_other_keys(content, {"sources": dict}, uri)
    sources = content.get("sources")
    if not isinstance(sources, dict) or not sources:
        raise UsageError(f"{uri}: has no sources; each begins with a line such as [sources.tickets]")
    return [source_of(name, value, f"{uri}: sources.{name}") for name, value in sources.items()]


def source_of(name: str, value: Any, place: str) -> SourceSpec:
    """The source of a table of settings. A name of the catalogue brings its own, which those of `value` replace.

    Raises UsageError that begins with `place`.
    """
    if not isinstance(value, dict):
        raise UsageError(f"{place} is {value!r}; allowed is a table of settings")
    _refuse_other_keys(value, KEYS, place)
    known = catalogue().get(name)
    value = {**known.settings, **value} if known else value
    _check_types(value, KEYS, place)
    _need(value, ("files", "task"), "source", place)
    joins = value.get("join", {})
    try:
        return SourceSpec(
            name,
            _globs(value["files"]),
            value["task"],
            _reading(value),
            value.get("limit", 0),
            value.get("allow_drops", False),
            value.get("exclude", ""),
            chosen=_chosen(value),
            joins=tuple(_join(field, joins[field], f"{place}.join.{field}") for field in joins),
        )
    except UsageError as error:
        sentence = str(error).removeprefix(f"--source {name}: ")
        raise UsageError(sentence if sentence.startswith(place) else f"{place}: {sentence}") from error


def _join(name: str, value: Any, place: str) -> Join:
    if not isinstance(value, dict):
        raise UsageError(f"{place} is {value!r}; allowed is a table of settings")
    _refuse_other_keys(value, JOIN_KEYS, place)
    _check_types(value, JOIN_KEYS, place)
    _need(value, ("files", "on", "key"), "join", place)
    own = {key: value[key] for key in ("best", "exclude") if key in value}
    try:
        return Join(
            name,
            _globs(value["files"]),
            value["on"],
            value["key"],
            **own,
            reading=_reading(value),
            chosen=_chosen(value),
        )
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from error


def _globs(files: str | list[str]) -> Globs:
    return files if isinstance(files, str) else tuple(files)


def _chosen(value: dict[str, Any]) -> Chosen:
    return Chosen(value.get("config", ""), value.get("split", ""))


def _reading(value: dict[str, Any]) -> Reading:
    settings: dict[str, Any] = {
        key: tuple(item) if key == "columns" else item for key, item in value.items() if key in _READING
    }
    return Reading(**settings)


def _check_types(value: dict[str, Any], keys: dict[str, type], place: str) -> None:
    for key, kind in keys.items():
        kinds = (str, list) if key == "files" else (kind,)
        if key in value and (type(value[key]) not in kinds or not _texts(value[key])):
            allowed = {
                str: "a text",
                int: "a whole number",
                list: "a list of texts",
                bool: "true or false",
                dict: "a table for each field",
            }
            either = " or a list of texts" if key == "files" else ""
            raise UsageError(f"{place}: {key} is {value[key]!r}; allowed is {allowed[kind]}{either}")


def _need(value: dict[str, Any], keys: Sequence[str], kind: str, place: str) -> None:
    missing = [key for key in keys if not value.get(key)]
    if missing:
        raise UsageError(f"{place}: has no {missing[0]}, which each {kind} needs")


def _texts(value: Any) -> bool:
    return not isinstance(value, list) or (bool(value) and all(isinstance(item, str) for item in value))


def _refuse_other_keys(value: dict[str, Any], allowed: dict[str, type], place: str) -> None:
    for key in value:
        if key not in allowed:
            nearest = get_close_matches(key, allowed, 1)
            hint = f"; {nearest[0]!r} is nearest" if nearest else ""
            raise UsageError(f"{place}: there is no setting {key!r}{hint}; allowed are {', '.join(allowed)}")
