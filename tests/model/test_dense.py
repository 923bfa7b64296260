"""Linear layers after pooling: as sentence-transformers has them, trained, exported, and cut to first dimensions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense
from torch import nn

from gte_ray.config import ModelConfig
from gte_ray.errors import RunError, UsageError
from gte_ray.model.load import build_encoder, check_base, load_model
from gte_ray.pretrained.identity import identity
from tests.model.folders import TEXTS, assert_same, bare_folder, copy, edit, model_folder, refusal

LAYERS = {
    "its default": [Dense(24, 8)],
    "two without bias, as EmbeddingGemma": [Dense(24, 48, False, nn.Identity()), Dense(48, 24, False, nn.Identity())],
    "other activations": [Dense(24, 30, activation_function=nn.GELU()), Dense(30, 7, activation_function=nn.ReLU())],
}  # fmt: skip
CONFIG = "2_Dense/config.json"


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    return bare_folder(tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def dense(bare, tmp_path_factory):
    return model_folder(bare, tmp_path_factory.mktemp("dense") / "model", dense=[Dense(24, 8)])


@pytest.fixture
def own(dense, tmp_path):
    """A folder with one layer, to change."""
    return copy(dense, tmp_path / "own")


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_vectors_are_sentence_transformers(bare, name, normalize, tmp_path):
    folder = model_folder(bare, tmp_path / "model", normalize=normalize, dense=LAYERS[name])
    assert_same(folder)
    loaded = load_model(folder, dimensions=5)
    theirs = SentenceTransformer(folder, device="cpu", truncate_dim=5)
    expected = theirs.encode(TEXTS, normalize_embeddings=normalize)
    assert loaded.encoder.dimensions == 5
    assert np.abs(loaded.embed(TEXTS, 64) - expected).max() <= 1e-5


def test_weights_in_torchs_own_format(own):
    file = Path(own, "2_Dense/model.safetensors")
    expected, mark = load_model(own).embed(TEXTS, 64), identity(own)
    torch.save(load_file(file), Path(own, "2_Dense/pytorch_model.bin"))
    assert identity(own) == mark  # not read, as there are safetensors
    file.unlink()
    assert (load_model(own).embed(TEXTS, 64) == expected).all()
    pickled = identity(own)
    torch.save(
        {"linear.weight": torch.ones(8, 24), "linear.bias": torch.ones(8)}, file.parent / "pytorch_model.bin"
    )
    assert len({identity(own), pickled, mark}) == 3  # it counts, though the backbone has safetensors


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"in_features": 25}, "says in_features = 25; allowed is 24, as vectors come to it"),
        ({"out_features": 9}, "model.safetensors could not be loaded as a dense layer of 24 to 9"),
        ({"out_features": 0}, "out_features = 0; allowed is a number of at least 1"),
        ({"bias": False}, "could not be loaded as a dense layer of 24 to 8 (Error(s) in loading state_dict"),
        ({"use_residual": True}, "use_residual = true; allowed is sentence-transformers' default"),
        ({"activation_function": "mine.Swish"}, 'activation_function = "mine.Swish"; allowed is torch.nn.modules'),
        ({"module_input_name": "token_embeddings"}, 'module_input_name = "token_embeddings"'),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_followed_is_refused(own, values, said):
    assert said in refusal(edit(own, CONFIG, **values))


def test_layers_without_weights_or_with_damaged_ones_are_refused(own):
    file = Path(own, "2_Dense/model.safetensors")
    file.write_bytes(file.read_bytes()[:40])
    assert "2_Dense/model.safetensors could not be loaded as a dense layer of 24 to 8" in refusal(own)
    file.unlink()
    assert "2_Dense/model.safetensors could not be loaded" in refusal(own)
    Path(own, "2_Dense/pytorch_model.bin").write_bytes(b"no weights")
    assert "2_Dense/pytorch_model.bin could not be loaded" in refusal(own)
    save_file({"linear.weight": torch.ones(8, 24)}, file)
    assert 'Missing key(s) in state_dict: "linear.bias"' in refusal(own)


def test_layers_are_trained_and_stay_single_precision_beside_a_half_precision_backbone(own):
    encoder = build_encoder(ModelConfig(own), 120, 0, 16, seed=0)
    assert encoder.dimensions == 8
    trained = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert {"dense.0.linear.weight", "dense.0.linear.bias"} < trained
    vectors = encoder.dense[0].half()(torch.ones(2, 24, requires_grad=True))
    assert vectors.dtype == torch.float32
    vectors.sum().backward()
    assert encoder.dense[0].linear.weight.grad.dtype == torch.float16


def test_more_dimensions_than_there_are_is_said(own):
    with pytest.raises(RunError, match="has vectors of 8 dimensions; allowed are as many, not 9"):
        load_model(own, dimensions=9)
    assert check_base(ModelConfig(own), 16, (4, 8)) is None
    with pytest.raises(
        UsageError, match="--dimensions is '24 4'; allowed are 8, which the model's vectors have"
    ):
        check_base(ModelConfig(own), 16, (24, 4))
