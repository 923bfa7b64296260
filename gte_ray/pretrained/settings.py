"""Reads from a model folder how texts become vectors. Unsupported settings are refused by name.

The files are those of sentence-transformers: modules.json, the modules' own, and
config_sentence_transformers.json. A folder without them is a bare transformers model.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from gte_ray.config import Pooling
from gte_ray.errors import RunError
from gte_ray.pretrained.prompts import DOCUMENT_NAMES, Prompts

PROMPTS_FILE = "config_sentence_transformers.json"
TRANSFORMER_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""Files of the transformer's settings, by sentence-transformers release; the first one present is used."""
POOLINGS: dict[str, Pooling] = {"mean": "mean", "cls": "cls", "lasttoken": "last"}
"""Pooling modes by their sentence-transformers names."""
OLD_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Boolean keys of older releases, and their pooling modes."""
HARMLESS = {
    "model": ("add_pooling_layer", "attn_implementation", "torch_dtype", "dtype", "trust_remote_code"),
    "tokenizer": ("padding_side", "use_fast", "trust_remote_code"),
    "config": ("trust_remote_code",),
}
"""Arguments of transformers' loaders that do not change the embedding of a text."""


@dataclass(frozen=True)
class Settings:
    """How the model in a folder turns texts into vectors."""

    transformer: str = ""
    """Subfolder of the backbone and its tokenizer, as in older releases; empty for the model's own folder."""
    pooling: Pooling = "mean"
    normalize: bool = False
    """Whether vectors are normalised to length 1."""
    lower_case: bool = False
    """Whether texts are lower-cased before tokenisation."""
    max_length: int | None = None
    """Maximum tokens per text, special tokens included; None if tokenizer and backbone decide."""
    prompts: Prompts = field(default_factory=Prompts)
    notes: tuple[str, ...] = ()
    """What a user may not expect, one sentence each."""


def read_settings(folder: Path, name: str) -> Settings:
    """Reads the settings of the model in the local `folder`, called `name` in messages.

    Raises RunError, with the file and the setting, for a setting that is not supported.
    """
    reader = _Reader(folder, name)
    if not (folder / "modules.json").is_file():
        return Settings(pooling=_usual_pooling(reader), notes=_unused(reader))
    prompts, notes = _prompts(reader)
    modules = _modules(reader)
    transformer = _transformer(reader, modules[0])
    pooling, include_prompt = _pooling(reader, modules[1])
    if not include_prompt and any(prompts.named.values()):
        raise reader.refusal(
            f"{modules[1]}/config.json", "include_prompt", False, "true where there are prompts"
        )
    if len(modules) == 3:
        _check_normalize(reader, modules[2])
    return Settings(
        transformer=modules[0],
        pooling=pooling,
        normalize=len(modules) == 3,
        lower_case=bool(transformer.get("do_lower_case")),
        max_length=transformer.get("max_seq_length"),
        prompts=prompts,
        notes=notes,
    )


class _Reader:
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


def _modules(reader: _Reader) -> list[str]:
    """Folders of the modules, with the transformer's first."""
    modules = reader.parse("modules.json")
    try:
        types, paths = [m["type"] for m in modules], [m["path"] for m in modules]
    except (TypeError, KeyError) as error:
        raise RunError(f"{reader.name}: modules.json is no list of modules with type and path") from error
    names = [kind.rsplit(".", 1)[-1] if kind.startswith("sentence_transformers.") else kind for kind in types]
    if names[:2] != ["Transformer", "Pooling"] or names[2:] not in ([], ["Normalize"]):
        raise RunError(
            f"{reader.name}: modules.json names {', '.join(names) or 'no modules'}; allowed are sentence-transformers' "
            "Transformer, Pooling and, after them, Normalize"
        )
    return paths


def _transformer(reader: _Reader, path: str) -> dict[str, Any]:
    """The settings of the transformer. Raises RunError if an unsupported one differs from its default."""
    files = [str(Path(path) / name) for name in TRANSFORMER_FILES]
    file = next((name for name in files if (reader.folder / name).is_file()), files[0])
    settings = reader.read(file)
    defaults: Mapping[str, Any] = {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        "module_output_name": "token_embeddings",
    }
    for key, value in settings.items():
        short = key.removesuffix("_args").removesuffix("_kwargs")
        if key in ("max_seq_length", "do_lower_case", "unpad_inputs") or value in (None, {}):
            continue
        if short in HARMLESS | {"processor": ()} and key != short and isinstance(value, dict):
            harmless = HARMLESS["tokenizer" if short == "processor" else short]
            for name in value:
                if name not in harmless:
                    raise reader.refusal(file, f"{key}.{name}", value[name], "none")
        elif value != defaults.get(key):
            allowed = json.dumps(defaults[key]) if key in defaults else "none"
            raise reader.refusal(file, key, value, allowed)
    length = settings.get("max_seq_length")
    if length is not None and (not isinstance(length, int) or length < 1):
        raise reader.refusal(file, "max_seq_length", length, "a number of at least 1")
    return settings


def _pooling(reader: _Reader, path: str) -> tuple[Pooling, bool]:
    """The pooling mode, and whether the prompt's tokens are pooled with the text's."""
    file = f"{path}/config.json"
    if not (reader.folder / file).is_file():
        raise RunError(f"{reader.name}: {file} is missing, which says how to pool")
    settings = reader.read(file)
    modes = [mode for key, mode in OLD_POOLINGS.items() if settings.get(key)] or ["mean"]
    mode = settings.get("pooling_mode", modes)
    mode = mode[0] if isinstance(mode, list) and len(mode) == 1 else mode
    if not isinstance(mode, str) or mode not in POOLINGS:
        shown = mode if isinstance(mode, str) else "+".join(map(str, mode))
        raise reader.refusal(file, "pooling_mode", shown, ", ".join(POOLINGS))
    return POOLINGS[mode], settings.get("include_prompt", True)


def _check_normalize(reader: _Reader, path: str) -> None:
    for key, value in reader.read(f"{path}/config.json").items():
        if value not in ("sentence_embedding", None):
            raise reader.refusal(f"{path}/config.json", key, value, '"sentence_embedding"')


def _usual_pooling(reader: _Reader) -> Pooling:
    """sentence-transformers' default for a bare transformers folder: last token if causal, mean otherwise."""
    config = reader.read("config.json")
    classes = config.get("architectures") or [""]
    causal = classes[0].endswith("ForCausalLM") and config.get("is_causal", True)
    return cast(Pooling, "last" if causal else "mean")


def _unused(reader: _Reader) -> tuple[str, ...]:
    """A note on settings files without modules.json, which sentence-transformers ignores too."""
    files = [name for name in (PROMPTS_FILE, *TRANSFORMER_FILES) if (reader.folder / name).is_file()]
    if not files:
        return ()
    return (f"{reader.name}: has no modules.json, without which {' and '.join(files)} say nothing",)


def _prompts(reader: _Reader) -> tuple[Prompts, tuple[str, ...]]:
    """The prompts in config_sentence_transformers.json, and notes for the user on its other settings."""
    file = PROMPTS_FILE
    settings = reader.read(file)
    for key, allowed in (("model_type", "SentenceTransformer"), ("truncate_dim", None)):
        if settings.get(key, allowed) != allowed:
            raise reader.refusal(file, key, settings[key], json.dumps(allowed) if allowed else "none")
    named, default = settings.get("prompts") or {}, settings.get("default_prompt_name")
    if not isinstance(named, dict) or not all(isinstance(text, str | None) for text in named.values()):
        raise reader.refusal(file, "prompts", named, "an object of texts")
    try:
        prompts = Prompts.of(named, default)
    except KeyError as error:
        names = ", ".join(named) or "none, as there are no prompts"
        raise reader.refusal(file, "default_prompt_name", default, f"one of {names}") from error
    notes = []
    similarity = settings.get("similarity_fn_name") or "cosine"
    if similarity != "cosine":
        notes.append(
            f"{reader.name}: is made for {similarity} similarity; its vectors are compared by cosine"
        )
    side = next((name for name in DOCUMENT_NAMES if name in named), "document")
    if side != "document" and named[side]:
        notes.append(
            f"{reader.name}: its prompt {side!r} is put in front of documents, "
            "which sentence-transformers' encode_document leaves out"
        )
    unused = [name for name in DOCUMENT_NAMES if named.get(name) and name != side]
    if unused:
        notes.append(
            f"{reader.name}: its prompt {unused[0]!r} is not put in front of documents, as {side!r} comes first, "
            f"which is {json.dumps(named[side] or '')}"
        )
    if prompts.default and not prompts:
        notes.append(
            f"{reader.name}: its prompt {default!r}, the default, is put in front of texts that are neither "
            "queries nor documents, as sentence-transformers' encode_query and encode_document do without it"
        )
    return prompts, tuple(notes)
