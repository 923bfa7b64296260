"""Locates a model's files: a folder, a folder at a URI, or a snapshot from the Hugging Face hub."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

import huggingface_hub

from gte_ray.errors import RunError
from gte_ray.runtime import storage

SETTINGS = ("*.json", "*.txt", "*.model")
"""Files of a model other than weights: settings and vocabularies, never code."""
SAFE_WEIGHTS = "*.safetensors"
PICKLED_WEIGHTS = "pytorch_model*.bin"
"""Weights in torch's own format, for models without safetensors. `torch.load` reads them with
`weights_only=True`, which builds tensors and runs no code."""


ADAPTER_FILE = "adapter_config.json"
"""Of peft. transformers loads such an adapter into the model beside it, or the one that it names, if peft is installed."""


class ModelNotFound(RunError):
    """There is no model with this name, or it cannot be reached."""


def is_folder(name: str) -> bool:
    """Whether `name` is a URI or a local folder rather than a hub id."""
    return "://" in name or Path(name).is_dir()


@contextmanager
def model_folder(name: str, weights: bool = True) -> Iterator[Path]:
    """Yields a local path of the model `name`. Its weights are fetched only if `weights` is true.

    For a hub id, pickled weights are fetched only for modules without safetensors. Raises ModelNotFound.
    """
    if is_folder(name):
        if not storage.files(name):
            raise ModelNotFound(f"{name}: there is no such folder, or nothing is in it")
        with storage.local_folder(name) if weights else _without_weights(name) as path:
            _refuse_adapter(Path(path), name)
            yield Path(path)
        return
    folder = _snapshot(name, [*SETTINGS, SAFE_WEIGHTS] if weights else SETTINGS)
    _refuse_adapter(folder, name)
    pickled = [
        storage.join(path, PICKLED_WEIGHTS) if path else PICKLED_WEIGHTS
        for path in _weighted(folder)
        if not any((folder / path).glob(SAFE_WEIGHTS))
    ]
    yield _snapshot(name, [*SETTINGS, SAFE_WEIGHTS, *pickled]) if weights and pickled else folder


def _refuse_adapter(folder: Path, name: str) -> None:
    path = folder / ADAPTER_FILE
    if path.is_file():
        settings = storage.read_json(str(path))
        base = settings.get("base_model_name_or_path") if isinstance(settings, dict) else None
        raise RunError(
            f"{name}: has an adapter ({ADAPTER_FILE}), of {base or 'a base that it does not name'}, which is not followed; allowed "
            "are whole models, such as peft's merge_and_unload makes of both"
        )


def _weighted(folder: Path) -> list[str]:
    """The folders of modules that have weights, relative to the model's; itself is the empty name."""
    path = folder / "modules.json"
    modules = storage.read_json(str(path)) if path.is_file() else []
    kinds = ("Transformer", "Dense")
    found = [m.get("path", "") for m in modules if isinstance(m, dict) and str(m.get("type")).endswith(kinds)]
    return found or [""]


@contextmanager
def _without_weights(name: str) -> Iterator[str]:
    """Yields the path of the folder `name`, or for a URI the path of a local copy of its settings alone."""
    if "://" not in name:
        yield name
        return
    with tempfile.TemporaryDirectory() as folder:
        for file in storage.files(name):
            if any(fnmatchcase(file, pattern) for pattern in SETTINGS):
                (Path(folder) / file).parent.mkdir(parents=True, exist_ok=True)
                storage.download_file(storage.join(name, file), str(Path(folder) / file))
        yield folder


def commit(name: str) -> str:
    """The commit of a hub id, 40 hex digits; empty if it cannot be determined."""
    try:
        return _snapshot(name, ["config.json"]).name
    except ModelNotFound:
        return ""


def _snapshot(name: str, patterns: Sequence[str]) -> Path:
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=list(patterns)))
    except (OSError, ValueError) as error:  # ValueError: not an id at all, such as a path
        reason = f" ({str(error).splitlines()[0]})" if isinstance(error, OSError) else ""
        raise ModelNotFound(
            f"{name}: no such folder here, and the Hugging Face hub gives no such model{reason}; a folder, a folder at a URI, or an id that HF_HOME holds or "
            "the hub can be reached for is allowed"
        ) from error
