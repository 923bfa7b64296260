"""The ONNX file of a model, run by onnxruntime on padded texts, against sentence-transformers' vectors."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer

from gte_ray.errors import RunError
from gte_ray.exporting import onnx_file
from gte_ray.exporting.onnx_file import FILE, write_onnx
from gte_ray.model.load import load_model
from gte_ray.pretrained.identity import identity
from tests.model.folders import SIZES, bare_folder, model_folder

TEXTS = [
    "a river of stones",
    "stone",
    "clouds over the river and many more stones below",
    "how to sort a list",
]
KINDS = {
    "bert": {},
    "modernbert": SIZES | {"local_attention": 8},
    "xlm-roberta": SIZES | {"max_position_embeddings": 42, "pad_token_id": 1},
    "qwen3": SIZES | {"num_key_value_heads": 1, "head_dim": 12},
}


def pooled(hidden, mask, pooling):
    if pooling == "last":
        return hidden[np.arange(len(hidden)), mask.sum(1) - 1]
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)


def vectors_of_the_file(folder, pooling):
    """By numpy and onnxruntime alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right")
    session = onnxruntime.InferenceSession(str(Path(folder, FILE)), providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["input_ids", "attention_mask"]
    inputs = tokenizer(TEXTS, padding=True, return_tensors="np")
    (hidden,) = session.run(
        ["last_hidden_state"], {name: inputs[name] for name in ("input_ids", "attention_mask")}
    )
    found = pooled(hidden, inputs["attention_mask"], pooling)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_gives_the_vectors_of_sentence_transformers(kind, tmp_path):
    pooling = "last" if kind == "qwen3" else "mean"
    bare = bare_folder(tmp_path / "bare", kind, **KINDS[kind])
    folder = model_folder(bare, tmp_path / "model", "lasttoken" if pooling == "last" else "mean")
    before = identity(folder)
    assert write_onnx(load_model(folder), folder) == f"{folder}/{FILE}"
    assert Path(folder, "README.md").read_text().count("## ONNX") == 1
    expected = SentenceTransformer(folder, device="cpu").encode(TEXTS)
    assert np.abs(vectors_of_the_file(folder, pooling) - expected).max() < 1e-5
    assert identity(folder) == before


def test_a_file_that_gives_something_else_is_not_kept(tmp_path, monkeypatch):
    folder = model_folder(bare_folder(tmp_path / "bare"), tmp_path / "model")
    written = onnx_file.write_graph

    def other_weights(module, inputs, path):
        written(module, inputs, path)
        with torch.no_grad():
            next(module.parameters()).mul_(-1)

    monkeypatch.setattr(onnx_file, "write_graph", other_weights)
    with pytest.raises(
        RunError, match=r"its ONNX file gives hidden states that are \d+\.\d% away, so it is not kept"
    ):
        write_onnx(load_model(folder), folder)

    with (
        monkeypatch.context() as patch,
        pytest.raises(RunError, match=r"--onnx needs more packages .* 'gte_ray\[onnx\]'"),
    ):
        patch.setitem(sys.modules, "onnxruntime", None)
        write_onnx(load_model(folder), folder)

    def cannot(*arguments):
        raise ValueError("no such operator")

    monkeypatch.setattr(onnx_file, "write_graph", cannot)
    with pytest.raises(RunError, match=r"bert cannot be written as ONNX \(no such operator\)"):
        write_onnx(load_model(folder), folder)
    assert not Path(folder, "onnx").exists()
