"""Model folders of random weights, as sentence-transformers saves them, for tests."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import AutoModel, BertConfig, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from gte_ray.config import ModelConfig
from gte_ray.data.tokenize import train_wordpiece
from gte_ray.errors import RunError
from gte_ray.model.load import build_encoder, check_base, check_model, load_model

PROMPTS = "config_sentence_transformers.json"
TRANSFORMER = "sentence_bert_config.json"
POOLING = "1_Pooling/config.json"
TEXTS = ["How to sort a LIST of stones", "a river of stones " * 30, "stone", "clouds over the river"]
SIZES = {"vocab_size": 300, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 32, "max_position_embeddings": 40, "pad_token_id": 0}  # fmt: skip
T5 = {"vocab_size": 300, "d_model": 24, "d_kv": 12, "d_ff": 32, "num_layers": 2, "num_heads": 2}
XLNET = {"vocab_size": 300, "d_model": 24, "n_layer": 2, "n_head": 2, "d_inner": 32}


def bare_folder(path: Path, kind: str = "bert", **shape: Any) -> str:
    """A transformers folder of `kind`, with a lower-casing WordPiece tokenizer."""
    train_wordpiece([text.lower() for text in TEXTS] * 3, 120, str(path))
    torch.manual_seed(0)
    if kind == "bert":
        config: Any = BertConfig(**{**SIZES, **shape})
    else:
        config = CONFIG_MAPPING[kind](**(shape or SIZES))
    AutoModel.from_config(config).save_pretrained(path)
    return str(path)


def cased_tokenizer(path: Path) -> None:
    """Replaces the tokenizer of a folder by one of bytes, which knows upper case."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "<pad>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=290, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>").save_pretrained(path)


def model_folder(
    bare: str,
    path: Path,
    pooling: str = "mean",
    normalize: bool = True,
    dense: Sequence[Dense] = (),
    **named: Any,
) -> str:
    """A sentence-transformers folder around a bare one; `named` goes to SentenceTransformer."""
    width = Transformer(bare).get_embedding_dimension()
    modules = [Transformer(bare, max_seq_length=30), Pooling(width, pooling), *dense]
    layers = [*modules, Normalize()] if normalize else modules
    SentenceTransformer(modules=layers, device="cpu", **named).save(str(path), create_model_card=False)
    return str(path)


def edit(folder: str, file: str, **values: Any) -> str:
    """Sets keys of a JSON file in `folder`."""
    path = Path(folder, file)
    found = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(found | values))
    return folder


def copy(folder: str, path: Path) -> str:
    return str(shutil.copytree(folder, path))


def old_layout(folder: str) -> str:
    """Moves the transformer of `folder` to where old releases of sentence-transformers have it."""
    inner = Path(folder, "0_Transformer")
    inner.mkdir()
    for file in [path for path in Path(folder).iterdir() if path.is_file()]:
        if file.name not in ("modules.json", "config_sentence_transformers.json"):
            file.rename(inner / file.name)
    modules = json.loads(Path(folder, "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    Path(folder, "modules.json").write_text(json.dumps(modules))
    return folder


def assert_same(folder: str) -> None:
    """Texts, queries and documents have sentence-transformers' vectors."""
    theirs, ours = SentenceTransformer(folder, device="cpu"), load_model(folder)

    def unit(vectors):
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    assert np.abs(ours.embed(TEXTS, 64) - theirs.encode(TEXTS)).max() <= 1e-5
    assert np.abs(ours.queries(TEXTS, 64) - unit(theirs.encode_query(TEXTS))).max() <= 1e-5
    assert np.abs(ours.documents(TEXTS, 64) - unit(theirs.encode_document(TEXTS))).max() <= 1e-5


def refusal(folder: str, built: bool = True) -> str:
    """What is said of a model that is not followed: the same when it is scored and when it is trained from.

    `built`: by training's workers too, which are given the tokenizer.
    """
    with pytest.raises(RunError) as scored:
        check_model(folder)
    with pytest.raises(RunError) as trained:
        check_base(ModelConfig(folder), 16)
    assert str(scored.value) == str(trained.value)
    if built:
        with pytest.raises(RunError) as worker:
            build_encoder(ModelConfig(folder), 120, 0, 16, seed=0)
        assert str(worker.value) == str(scored.value)
    assert "\n" not in str(scored.value) and str(scored.value).startswith(f"{folder}: ")
    return str(scored.value)
