"""Every kind of backbone that is packed: its export has the same vectors in sentence-transformers and in transformers."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from gte_ray.config import Config, ModelConfig, ObjectiveConfig, PairsConfig, TrainingConfig
from gte_ray.data.tokenize import load_tokenizer
from gte_ray.exporting.card import ModelCard
from gte_ray.exporting.folder import export_model
from gte_ray.model.load import build_encoder
from tests.model.folders import TEXTS, bare_folder, model_folder
from tests.model.test_backbones import KINDS, SHAPE

LENGTH = 30


def card_of(base: str) -> ModelCard:
    training = TrainingConfig(steps=1, global_batch=4, learning_rate=1e-3)
    data, model = PairsConfig("store", max_length=LENGTH), ModelConfig(base)
    return ModelCard("m", Config("tiny", data, model, ObjectiveConfig(), training), "0" * 16, "make", ())


def by_the_cards_example(folder: str) -> np.ndarray:
    """The vectors of the card's code for transformers alone."""
    code = re.findall(r"```python\n(.*?)```", Path(folder, "README.md").read_text(), re.DOTALL)[1]
    names = {"folder": folder, "TEXTS": TEXTS}
    exec(re.sub(r"texts = \[.*\]", "texts = TEXTS", code.replace("print(", "(")), names)
    return names["embeddings"].numpy()


@pytest.mark.parametrize("name", KINDS)
def test_sentence_transformers_and_transformers_give_the_trainers_vectors(name, tmp_path):
    torch.set_num_threads(1)
    kind, more = KINDS[name]
    bare = bare_folder(tmp_path / "bare", kind, **SHAPE | more | {"pad_token_id": 0})
    base, folder = model_folder(bare, tmp_path / "base", "mean"), str(tmp_path / "model")
    encoder, tokenizer = build_encoder(ModelConfig(base), 120, 0, LENGTH, seed=0), load_tokenizer(base)
    assert encoder.packed
    export_model(encoder, tokenizer, folder, card_of(base))
    vectors = encoder.encode(tokenizer.encode(TEXTS, LENGTH), 500).numpy()
    assert np.abs(vectors @ vectors.T - 1).max() > 1e-3, "the vectors are not all the same"
    assert np.abs(SentenceTransformer(folder, device="cpu").encode(TEXTS) - vectors).max() <= 1e-5
    assert np.abs(by_the_cards_example(folder) - vectors).max() <= 1e-5
