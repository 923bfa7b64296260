"""What a model is, for the fingerprint of a run that starts from it and for scores that are kept."""

import hashlib
import json
import time
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from gte_ray.pretrained.files import PICKLED_WEIGHTS, SAFE_WEIGHTS, SETTINGS, commit, is_folder
from gte_ray.runtime import storage

ORIGIN_FILE = "gte_ray.json"
"""In a model folder: the run that made the model, and the digest of its files."""
WORDS = ("scratch", "bm25")
"""What stands in the place of a model and is none."""
SETTLED_NS = 2_000_000_000
"""Time after its last change from which a file's digest is kept."""
_CHUNK_BYTES = 2**22


def identity(base: str) -> str:
    """What stands for a model: equal where its files are, wherever they lie, and another after any change to them.

    For a folder that a run wrote and nobody changed, the run; for another folder, a digest of its files; for a
    Hugging Face id, that with the commit; for `scratch`, `bm25` and what is no model, that word itself, whatever
    folders are there.
    """
    if base in WORDS:
        return base
    if not is_folder(base):
        found = commit(base)
        return f"{base}@{found}" if found else base
    content = content_digest(base)
    if not content:
        return base
    origin = storage.join(base, ORIGIN_FILE)
    record = storage.read_json(origin) if storage.exists(origin) else {}
    return of_run(record["run"]) if record.get("content") == content else f"model {content}"


def of_run(fingerprint: str) -> str:
    """The identity of the model that the run of this fingerprint makes."""
    return f"model of run {fingerprint}"


def origin_record(folder: str, run: str) -> dict[str, Any]:
    """The content of ORIGIN_FILE for the model in `folder`."""
    return {"run": run, "content": content_digest(folder)}


def content_digest(folder: str) -> str:
    """64 hex digits of all files of a model folder that its vectors depend on; empty where there is no model.

    Those are weights, configs, vocabularies and the settings of modules, in the folder and in those of its modules;
    not cards, code, checkpoints, nor weights in formats that are not loaded.
    """
    places = _places(folder)
    names = [name for name in storage.files(folder) if name.rpartition("/")[0] in places and _counts(name)]
    safe = [name for name in names if fnmatchcase(name, SAFE_WEIGHTS)]
    pickled = [name for name in names if fnmatchcase(storage.name(name), PICKLED_WEIGHTS)]
    if not (safe or pickled) or not any(storage.name(name) == "config.json" for name in names):
        return ""
    unused = set(pickled) if safe else set()
    parts = [[name, _file_digest(folder, name)] for name in names if name not in unused]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _counts(name: str) -> bool:
    base = storage.name(name)
    patterns = (*SETTINGS, SAFE_WEIGHTS, PICKLED_WEIGHTS)
    return base != ORIGIN_FILE and any(fnmatchcase(base, pattern) for pattern in patterns)


def _places(folder: str) -> set[str]:
    """Folders in a model's that hold a part of it, and itself as an empty name."""
    path = storage.join(folder, "modules.json")
    modules = storage.read_json(path) if storage.exists(path) else []
    paths = [module.get("path", "") for module in modules if isinstance(module, dict)]
    return {"", *(path.strip("/") for path in paths)}


def _file_digest(folder: str, name: str) -> str:
    filesystem, path = storage.resolve(folder)
    info = filesystem.get_file_info(f"{path.rstrip('/')}/{name}")
    # The time of a change is coarse, so that a file of a moment ago may change again without it.
    settled = info.mtime_ns is not None and time.time_ns() - info.mtime_ns > SETTLED_NS
    read = _digest_of if settled else _digest_of.__wrapped__
    return read(folder, name, info.size, info.mtime_ns)


@lru_cache(maxsize=4096)
def _digest_of(folder: str, name: str, size: int, mtime_ns: int) -> str:
    """Read once in a process while size and time of change stay."""
    filesystem, path = storage.resolve(folder)
    digest = hashlib.sha256()
    with filesystem.open_input_stream(f"{path.rstrip('/')}/{name}") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
