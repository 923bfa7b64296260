"""A trained model as a folder that sentence-transformers, transformers and gte_ray load.

The folder is written without sentence-transformers, in the form that all its releases read: module names and
keys of release 2, which release 6 takes for its own (a test compares the two).
"""

import inspect
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers.utils import logging as transformers_logging

from gte_ray.data.tokenize import TextTokenizer
from gte_ray.errors import RunError
from gte_ray.exporting.card import CardSource, Exported, ModelCard, render
from gte_ray.exporting.sections import CARD_FILE
from gte_ray.model.abilities import abilities
from gte_ray.model.dense import WEIGHTS as DENSE_FILES
from gte_ray.model.dense import Dense
from gte_ray.model.encoder import Encoder
from gte_ray.model.lora import merge_adapters
from gte_ray.pretrained.identity import ORIGIN_FILE, origin_record
from gte_ray.runtime import storage
from gte_ray.runtime.imports import missing

__all__ = ["CardSource", "ModelCard", "export_model", "write_card"]


def export_model(encoder: Encoder, tokenizer: TextTokenizer, folder: str, card: ModelCard) -> None:
    """Writes the model of a run, in float32, into `folder`; see `write_model`. Adapters of `encoder` are merged."""
    merge_adapters(encoder.backbone)

    def finish(written: Path) -> None:
        _write_json(written / ORIGIN_FILE, origin_record(str(written), _origin(card)))
        write_card(encoder, tokenizer, str(written), card)

    write_model(encoder, tokenizer, folder, card.config.data.max_length, finish)


def write_model(
    encoder: Encoder,
    tokenizer: TextTokenizer,
    folder: str,
    max_length: int,
    finish: Callable[[Path], None],
) -> None:
    """Writes a model, in float32, into `folder`, a path or URI; what was there before is replaced.

    `finish` writes what else is to be in it. A local folder appears when it is complete. Raises RunError when it cannot
    be written, or would replace something else than a model.
    """
    if "://" in folder:
        with tempfile.TemporaryDirectory() as scratch:
            local = str(Path(scratch) / "model")
            write_model(encoder, tokenizer, local, max_length, finish)
            if storage.exists(storage.join(folder, "modules.json")):
                storage.delete(folder)  # with files that the new one may lack
            storage.upload(local, folder)
        return
    check_place(folder)
    target = Path(folder).absolute()
    aside = target.with_name(f".{target.name}.tmp{os.getpid()}")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        _write(encoder, tokenizer, aside, max_length)
        finish(aside)
        _replace(target, aside)
    except OSError as error:
        raise RunError(f"{folder}: the model could not be written there ({error})") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def check_place(folder: str) -> None:
    """Raise RunError if a model in the local `folder` would replace something else than a model."""
    target = Path(folder).absolute()
    if target.exists() and not (target / "modules.json").is_file() and not _is_empty(target):
        raise RunError(
            f"{folder}: holds something else than a model, which would be lost; allowed is another place"
        )


def _write(encoder: Encoder, tokenizer: TextTokenizer, folder: Path, max_length: int) -> None:
    backbone = encoder.backbone
    _save_weights(backbone, folder)
    tokenizer.save(str(folder))
    _set_length(folder, max_length)
    names = ["Transformer", "Pooling", *("Dense" for _ in encoder.dense), *["Normalize"] * encoder.normalize]
    _write_json(folder / "modules.json", [_module(i, name) for i, name in enumerate(names)])
    _write_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": max_length, "do_lower_case": False}
        | ({"model_args": {"add_pooling_layer": False}} if _has_pooler(encoder) else {}),
    )
    (folder / "1_Pooling").mkdir()
    _write_json(
        folder / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": backbone.config.hidden_size,
            "pooling_mode_cls_token": encoder.pooling == "cls",
            "pooling_mode_mean_tokens": encoder.pooling == "mean",
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
            **({"pooling_mode_lasttoken": True} if encoder.pooling == "last" else {}),
            **({} if tokenizer.prompts.pooled else {"include_prompt": False}),
        },
    )
    for index, layer in enumerate(encoder.dense, 2):
        _write_dense(layer, folder / f"{index}_Dense")
    _write_json(
        folder / "config_sentence_transformers.json",
        {"similarity_fn_name": "cosine"} | tokenizer.prompts.to_folder(),
    )


def _origin(card: ModelCard) -> str:
    """Identifies the run, and what makes another model than that of its last step."""
    after = f" after {card.steps} steps" if card.steps else ""
    mean = f", mean of those after {', '.join(map(str, card.averaged))}" if card.averaged else ""
    cut = f", first {card.dimensions} dimensions" if card.dimensions else ""
    return card.fingerprint + after + mean + cut


def write_card(encoder: Encoder, tokenizer: TextTokenizer, folder: str, card: ModelCard) -> None:
    """Writes the card of the model in `folder` (a path or URI), whole or not at all."""
    content = render(card, exported(encoder, tokenizer))
    storage.write_bytes(storage.join(folder, CARD_FILE), content.encode())


def exported(encoder: Encoder, tokenizer: TextTokenizer) -> Exported:
    """What a card says of the folder that these are written to."""
    return Exported(
        encoder.dimensions,
        _loader(encoder.backbone),
        _has_pooler(encoder),
        encoder.pooling,
        tokenizer.prompts,
        tuple((f"{index}_Dense", layer.activation_name) for index, layer in enumerate(encoder.dense, 2)),
        encoder.normalize,
    )


def _loader(backbone: Any) -> str:
    """The class by which transformers loads the folder: its automatic choice, or the encoder's own for one half."""
    return type(backbone).__name__ if abilities(backbone.config.model_type).encoder else "AutoModel"


def _has_pooler(encoder: Encoder) -> bool:
    """Whether a loader, unless it is told not to, makes a pooler of random weights, unused, and warns about it."""
    return "add_pooling_layer" in inspect.signature(type(encoder.backbone)).parameters


def _write_dense(layer: Dense, folder: Path) -> None:
    folder.mkdir()
    settings: dict[str, Any] = {"in_features": layer.in_features, "out_features": layer.out_features}
    settings |= {"bias": layer.linear.bias is not None, "activation_function": layer.activation_name}
    _write_json(folder / "config.json", settings)
    weights = layer.linear.state_dict(prefix="linear.")
    save_file({name: w.to("cpu", torch.float32) for name, w in weights.items()}, folder / DENSE_FILES[0])
    shutil.copymode(folder / "config.json", folder / DENSE_FILES[0])


def _module(index: int, name: str) -> dict[str, Any]:
    path = f"{index}_{name}" if index else ""
    return {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{name}"}


def _save_weights(backbone: Any, folder: Path) -> None:
    """config.json and model.safetensors, in float32 whatever the backbone is in, without a progress bar."""
    weights = {
        name: value.detach().to("cpu", torch.float32) if value.is_floating_point() else value.detach().cpu()
        for name, value in backbone.state_dict().items()
    }
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        # Where accelerate is installed, which peft needs, transformers asks whether the model is DeepSpeed's.
        with missing("deepspeed"):
            backbone.save_pretrained(folder, state_dict=weights)
    finally:
        if bars:
            transformers_logging.enable_progress_bar()
    config = json.loads((folder / "config.json").read_text())
    _write_json(folder / "config.json", config | {"dtype": "float32"})
    for path in folder.glob("*.safetensors"):  # made readable by its owner alone
        shutil.copymode(folder / "config.json", path)


def _set_length(folder: Path, max_length: int) -> None:
    """Has the tokenizer of `folder` cut texts at `max_length`, and only when it is asked to."""
    path = folder / "tokenizer_config.json"
    _write_json(path, json.loads(path.read_text()) | {"model_max_length": max_length})
    path = folder / "tokenizer.json"
    _write_json(path, json.loads(path.read_text(encoding="utf-8")) | {"truncation": None, "padding": None})


def _is_empty(target: Path) -> bool:
    return target.is_dir() and not any(target.iterdir())


def _replace(target: Path, new: Path) -> None:
    """Moves `new` to `target`. A folder cannot be moved onto another, so the old one steps aside first."""
    old = target.with_name(f".{target.name}.old{os.getpid()}")
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
