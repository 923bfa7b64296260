"""Reads from a model folder how texts become vectors. Unsupported settings are refused by name.

The files are those of sentence-transformers: modules.json, the modules' own, and
config_sentence_transformers.json. A folder without them is a bare transformers model.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from gte_ray.config import Pooling
from gte_ray.pretrained.modules import DenseSettings, read_modules
from gte_ray.pretrained.prompts import DOCUMENT_NAMES, Prompts
from gte_ray.pretrained.settings_files import SettingsFiles

PROMPTS_FILE = "config_sentence_transformers.json"
TRANSFORMER_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""Files of the transformer's settings, by sentence-transformers release; the first one present is used."""
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
    dense: tuple[DenseSettings, ...] = ()
    """Linear layers that the pooled vector passes through."""
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
    reader = SettingsFiles(folder, name)
    if not (folder / "modules.json").is_file():
        return Settings(pooling=_usual_pooling(reader), notes=_unused(reader))
    prompts, notes = _prompts(reader)
    modules = read_modules(reader)
    transformer = _transformer(reader, modules.transformer)
    return Settings(
        transformer=modules.transformer,
        pooling=modules.pooling,
        dense=modules.dense,
        normalize=modules.normalize,
        lower_case=bool(transformer.get("do_lower_case")),
        max_length=transformer.get("max_seq_length"),
        prompts=replace(prompts, pooled=modules.include_prompt),
        notes=notes,
    )


def _transformer(reader: SettingsFiles, path: str) -> dict[str, Any]:
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


def _usual_pooling(reader: SettingsFiles) -> Pooling:
    """sentence-transformers' default for a bare transformers folder: last token if causal, mean otherwise."""
    config = reader.read("config.json")
    classes = config.get("architectures") or [""]
    causal = classes[0].endswith("ForCausalLM") and config.get("is_causal", True)
    return cast(Pooling, "last" if causal else "mean")


def _unused(reader: SettingsFiles) -> tuple[str, ...]:
    """A note on settings files without modules.json, which sentence-transformers ignores too."""
    files = [name for name in (PROMPTS_FILE, *TRANSFORMER_FILES) if (reader.folder / name).is_file()]
    if not files:
        return ()
    return (f"{reader.name}: has no modules.json, without which {' and '.join(files)} say nothing",)


def _prompts(reader: SettingsFiles) -> tuple[Prompts, tuple[str, ...]]:
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
