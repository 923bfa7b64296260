"""What a model folder holds, for the fingerprint of a run that starts from it."""

import hashlib
import json
from typing import Any

from gte_ray import storage

ORIGIN_FILE = "gte_ray.json"
"""In a model folder: the run that made the model, and the digest of its weights."""
WORDS = ("scratch", "bm25")
"""What commands take instead of a model that is stored somewhere."""
_CHUNK_BYTES = 2**22


def identity(base: str) -> str:
    """What stands for the base model in a fingerprint: equal for equal weights, wherever they are stored.

    For a folder that a run wrote and nobody changed, the run; for another folder, a digest of its weights;
    for a Hugging Face id, `scratch` or `bm25`, that word itself, whatever folders are there.
    """
    weights = "" if base in WORDS else weights_digest(base)
    if not weights:
        return base
    origin = storage.join(base, ORIGIN_FILE)
    record = storage.read_json(origin) if storage.exists(origin) else {}
    return of_run(record["run"]) if record.get("weights") == weights else f"weights {weights}"


def of_run(fingerprint: str) -> str:
    """The identity of the model that the run of this fingerprint makes."""
    return f"model of run {fingerprint}"


def origin_record(folder: str, run: str) -> dict[str, Any]:
    """The content of ORIGIN_FILE for the model in `folder`."""
    return {"run": run, "weights": weights_digest(folder)}


def weights_digest(folder: str) -> str:
    """64 hex digits of the config and the safetensors files of a model folder; empty where there is none."""
    files = [*storage.glob(storage.join(folder, "*.safetensors")), storage.join(folder, "config.json")]
    if len(files) < 2 or not storage.exists(files[-1]):
        return ""
    parts = []
    for file in files:
        filesystem, path = storage.resolve(file)
        digest = hashlib.sha256()
        with filesystem.open_input_stream(path) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
        parts.append([storage.name(file), digest.hexdigest()])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
