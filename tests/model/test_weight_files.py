"""Weights that are broken, not whole, unsafe or of another model: one sentence before any work."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from gte_ray.config import ModelConfig
from gte_ray.errors import RunError
from gte_ray.model.load import check_base, check_model, load_model
from tests.model.folders import TEXTS, TRANSFORMER, bare_folder, copy, edit, model_folder, refusal


def change_weights(folder: str, change) -> None:
    file = Path(folder, "model.safetensors")
    weights = change(load_file(file))
    save_file({name: value.contiguous() for name, value in weights.items()}, file, metadata={"format": "pt"})


def test_weights_that_lack_do_not_fit_or_are_too_many_are_refused(plain, tmp_path):
    """Each would be random, or left out, without a word."""
    folders = [copy(plain, tmp_path / name) for name in "abcd"]
    change_weights(folders[0], lambda w: {name.replace("encoder.", "model.x."): v for name, v in w.items()})
    assert "its weights lack 32 of the 37 tensors of BertModel, such as encoder.layer.0" in refusal(
        folders[0]
    )
    change_weights(folders[1], lambda w: {name: v for name, v in w.items() if "layer.1.output" not in name})
    assert "its weights lack 4 of the 37 tensors" in refusal(folders[1])
    edit(folders[2], "config.json", num_hidden_layers=1)
    assert "16 tensors of layers that config.json leaves out" in refusal(folders[2])
    edit(folders[3], "config.json", intermediate_size=64)
    assert "is of shape [32] in the weights and [64] by config.json" in refusal(folders[3])


def test_weights_of_a_head_and_a_prefix_are_no_fault(own):
    change_weights(
        own, lambda w: {f"bert.{n}": v for n, v in w.items()} | {"cls.predictions.bias": torch.ones(3)}
    )
    theirs = SentenceTransformer(own, device="cpu").encode(TEXTS)
    assert np.abs(load_model(own).embed(TEXTS, 64) - theirs).max() <= 1e-5


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 90868376\n"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.safetensors", lambda old: POINTER, "model.safetensors is a pointer of Git LFS"),
        ("pytorch_model.bin", lambda old: POINTER, "pytorch_model.bin is a pointer of Git LFS"),
        ("model.safetensors", lambda old: old[: len(old) // 2], "its weights cannot be read"),
        ("model.safetensors", lambda old: b"", "its weights cannot be read"),
        ("pytorch_model.bin", lambda old: b"<html>not found</html>", "its weights cannot be read"),
        ("config.json", lambda old: b"{", "config.json"),
        ("config.json", lambda old: old.replace(b'"bert"', b'"vit"'), "vit"),
        ("config.json", lambda old: old.replace(b'"bert"', b'"bart"'), "bart"),
        ("config.json", lambda old: old.replace(b'"bert"', b'"future"'), "future"),
        ("tokenizer.json", lambda old: old.replace(b'"WordPiece"', b'"Future"'), "no tokenizer could be loaded"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read_are_told_in_one_sentence(own, name, content, said):
    path = Path(own, name)
    old = Path(own, "model.safetensors").read_bytes() if name.endswith("bin") else path.read_bytes()
    if name.endswith("bin"):
        Path(own, "model.safetensors").unlink()
    path.write_bytes(content(old))
    with pytest.raises(RunError) as caught:
        check_model(own)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_model_without_weights_is_told(own):
    Path(own, "model.safetensors").unlink()
    assert "no file named model.safetensors" in refusal(own)


class Touch:
    """A pickle that makes a file where it is read as such."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return shutil.copy, (__file__, str(self.path))


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_of_torchs_own_format_are_loaded_and_run_no_code(own, zipped, tmp_path):
    expected = load_model(own).embed(TEXTS, 64)
    weights = load_file(Path(own, "model.safetensors"))
    torch.save(weights, Path(own, "pytorch_model.bin"), _use_new_zipfile_serialization=zipped)
    change_weights(own, lambda w: {name: value * 2 for name, value in w.items()})
    assert np.abs(load_model(own).embed(TEXTS, 64) - expected).max() > 1e-3  # safetensors come first
    Path(own, "model.safetensors").unlink()
    assert np.array_equal(load_model(own).embed(TEXTS, 64), expected)
    mark = tmp_path / "mark"
    torch.save(
        weights | {"x": Touch(mark)}, Path(own, "pytorch_model.bin"), _use_new_zipfile_serialization=zipped
    )
    assert "a pickle of more than tensors, which could run code and is not loaded" in refusal(own)
    assert not mark.exists()


def test_backbones_whose_vectors_depend_on_padding_are_refused(tmp_path):
    shape = {"vocab_size": 300, "hidden_size": 24, "num_hidden_layers": 1, "intermediate_size": 32}
    fnet = bare_folder(tmp_path / "fnet", "fnet", **shape)
    assert "fnet has no attention mask" in refusal(fnet)
    conv = bare_folder(tmp_path / "conv", "convbert", **shape, num_attention_heads=2, embedding_size=24)
    theirs = SentenceTransformer(conv, device="cpu")
    assert np.abs(theirs.encode(TEXTS)[2] - theirs.encode(TEXTS[2:3])[0]).max() > 1e-4
    with pytest.raises(RunError, match="a text's vector depends on the padding beside it"):
        check_model(conv)
    with pytest.raises(RunError, match="a text's vector depends on the padding beside it"):
        check_base(ModelConfig(conv), 16)


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta", "camembert", "mpnet", "longformer"])
def test_positions_that_begin_after_padding(kind, tmp_path):
    """40 positions of which the first two are padding's leave 38 tokens, as a longer text shows."""
    shape = {"vocab_size": 300, "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
             "intermediate_size": 32, "max_position_embeddings": 40, "pad_token_id": 1}  # fmt: skip
    folder = bare_folder(tmp_path, kind, **shape, **({"attention_window": 8} if kind == "longformer" else {}))
    check_base(ModelConfig(folder), 38)
    with pytest.raises(RunError, match=r"max_length is 39, but the model '.*' has 38 positions"):
        check_base(ModelConfig(folder), 39)
    assert load_model(folder).max_length == 38
    assert np.isfinite(load_model(folder).embed(TEXTS, 64)).all()
    edit(model_folder(folder, tmp_path / "st"), TRANSFORMER, max_seq_length=39)
    with pytest.raises(RunError, match="max_length is 39"):
        check_model(str(tmp_path / "st"))


def test_a_tokenizer_of_another_vocabulary_is_refused(tmp_path):
    folder = bare_folder(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["model"]["vocab"]["xyz"] = 300  # ids need not be without gaps
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    for check in (lambda: check_model(folder), lambda: check_base(ModelConfig(folder), 16)):
        with pytest.raises(RunError, match=r"tokenizer has 301 entries, but the model .* knows 300"):
            check()
