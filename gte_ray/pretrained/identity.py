"""The identity of a model, for the fingerprint of a run that starts from it and for stored scores."""

import hashlib
import json
import time
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from gte_ray.pretrained.files import PICKLED_WEIGHTS, SAFE_WEIGHTS, SETTINGS, commit, is_folder
from gte_ray.runtime import storage

ORIGIN_FILE = "gte_ray.json"
"""File in a model folder with the run that made the model and the digest of its files."""
QUANTIZATION_FILE = "quantization.json"
"""File in a model folder with what its vectors lose in fewer bytes; they do not depend on it."""
WORDS = ("scratch", "bm25")
"""Names that may be given in place of a model."""
SETTLED_NS = 2_000_000_000
"""Age of a file's last change, in nanoseconds, above which its digest is cached."""
_CHUNK_BYTES = 2**22


def identity(base: str) -> str:
    """Identifies a model: equal for equal files, wherever they are, and different after any change to them.

    For a folder that a run wrote and that has not changed since, the identity names the run. For any other
    folder, it is a digest of the files. For a Hugging Face id, it is the id with the commit. `scratch` and
    `bm25` are returned as they are, even if folders have these names; so is a name without a model.
    """
    if base in WORDS:
        return base
    if not is_folder(base):
        revision = commit(base)
        return f"{base}@{revision}" if revision else base
    content = content_digest(base)
    if not content:
        return base
    origin = storage.join(base, ORIGIN_FILE)
    record = storage.read_json(origin) if storage.exists(origin) else {}
    return of_run(record["run"]) if record.get("content") == content else f"model {content}"


def of_run(fingerprint: str) -> str:
    """The identity of the model made by the run with this fingerprint."""
    return f"model of run {fingerprint}"


def origin_record(folder: str, run: str) -> dict[str, Any]:
    """The content of ORIGIN_FILE for the model in `folder`."""
    return {"run": run, "content": content_digest(folder)}


def content_digest(folder: str) -> str:
    """64 hex digits of all files in a model folder that its vectors depend on; empty if there is no model.

    These are weights, configs, vocabularies and module settings, in the folder and in its modules' folders.
    Model cards, code, checkpoints and weights in formats that are not loaded do not count.
    """
    folders = _model_folders(folder)
    names = [name for name in storage.files(folder) if name.rpartition("/")[0] in folders and _counts(name)]
    safe = [name for name in names if fnmatchcase(name, SAFE_WEIGHTS)]
    pickled = [name for name in names if fnmatchcase(storage.name(name), PICKLED_WEIGHTS)]
    if not (safe or pickled) or not any(storage.name(name) == "config.json" for name in names):
        return ""
    have_safe = {name.rpartition("/")[0] for name in safe}
    unused = {name for name in pickled if name.rpartition("/")[0] in have_safe}
    parts = [[name, _file_digest(folder, name)] for name in names if name not in unused]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _counts(name: str) -> bool:
    base = storage.name(name)
    patterns = (*SETTINGS, SAFE_WEIGHTS, PICKLED_WEIGHTS)
    return base not in (ORIGIN_FILE, QUANTIZATION_FILE) and any(
        fnmatchcase(base, pattern) for pattern in patterns
    )


def _model_folders(folder: str) -> set[str]:
    """Folders that hold parts of the model, relative to `folder`, which itself is the empty name."""
    path = storage.join(folder, "modules.json")
    modules = storage.read_json(path) if storage.exists(path) else []
    paths = [module.get("path", "") for module in modules if isinstance(module, dict)]
    return {"", *(path.strip("/") for path in paths)}


def _file_digest(folder: str, name: str) -> str:
    filesystem, path = storage.resolve(folder)
    info = filesystem.get_file_info(f"{path.rstrip('/')}/{name}")
    # Modification times are coarse: a file changed a moment ago may change again with the same time.
    settled = info.mtime_ns is not None and time.time_ns() - info.mtime_ns > SETTLED_NS
    read = _digest_of if settled else _digest_of.__wrapped__
    return read(folder, name, info.size, info.mtime_ns)


@lru_cache(maxsize=4096)
def _digest_of(folder: str, name: str, size: int, mtime_ns: int) -> str:
    """SHA-256 of a file, read once per process while its size and modification time stay the same."""
    filesystem, path = storage.resolve(folder)
    digest = hashlib.sha256()
    with filesystem.open_input_stream(f"{path.rstrip('/')}/{name}") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
