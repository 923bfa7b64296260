"""An exported folder against sentence-transformers, transformers and the trainer itself."""

import json
import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules
from transformers import AutoModel, AutoTokenizer, DistilBertConfig, DistilBertModel

from gte_ray.config import Config, ModelConfig, ObjectiveConfig, OutputConfig, PairsConfig, TrainingConfig
from gte_ray.data.tokenize import load_tokenizer, train_wordpiece
from gte_ray.errors import RunError
from gte_ray.evaluation.heldout import SourceScores
from gte_ray.evaluation.scores import Scores
from gte_ray.evaluation.seen import Seen
from gte_ray.exporting.card import CardSource, ModelCard
from gte_ray.exporting.folder import export_model
from gte_ray.model.load import build_encoder, load_model
from tests.model.folders import SIZES, T5, bare_folder, edit, model_folder

LENGTH = 12
TEXTS = [
    "a",
    "",
    "The Quick BROWN fox jumps over the lazy dog",
    "Ünïcode, naïve café: 漢字かな 😀 [SEP] [PAD] <b>",
    "one two three four five six seven eight nine ten eleven twelve thirteen",
    " tabs\tand\nlines ",
    "word" * 100,
]
SCORES = SourceScores(
    source="docs | web",
    queries=7,
    documents=9,
    ndcg_at_10=0.5,
    mrr_at_10=0.4,
    recall_at_1=0.3,
    recall_at_10=0.6,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = train_wordpiece([*TEXTS, "the lazy dog jumps"] * 3, 300, str(folder))
    config = ModelConfig("scratch", hidden_size=32, layers=2, heads=2, intermediate_size=48)
    encoder = build_encoder(config, tokenizer.vocab_size, tokenizer.pad_id, LENGTH, seed=3)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # random weights of the usual size give nearly equal vectors
        for parameter in encoder.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return encoder.eval(), tokenizer


@pytest.fixture(scope="module")
def card():
    config = Config(
        recipe="tiny",
        data=PairsConfig("store", max_length=LENGTH),
        model=ModelConfig("scratch"),
        objective=ObjectiveConfig(),
        training=TrainingConfig(steps=5, global_batch=4, learning_rate=1e-3),
        run=OutputConfig(tracking_uri="http://me:secret@host"),
    )
    return ModelCard(
        name="tiny-0123",
        config=config,
        fingerprint="0123",
        command="python -m gte_ray.pretrain --tracking-uri http://me:secret@host",
        sources=(CardSource("docs | web", "web-page", 1234, 1.0),),
        scores=Scores((SCORES,), (SCORES,), (SCORES,), seen=(Seen("docs | web", 0.25, 0.5),)),
    )


@pytest.fixture(scope="module")
def folder(model, card, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("export") / "model")
    export_model(*model, folder, card)
    return folder


@pytest.fixture(scope="module")
def expected(model):
    encoder, tokenizer = model
    return np.asarray(encoder.encode(tokenizer.encode(TEXTS, LENGTH), 64))


def test_sentence_transformers_gives_the_trainers_embeddings(folder, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        loaded = SentenceTransformer(folder, device="cpu")
    assert loaded.max_seq_length == LENGTH
    assert loaded.similarity_fn_name == "cosine"
    assert np.abs(loaded.encode(TEXTS, batch_size=3) - expected).max() <= 1e-5
    assert np.abs(expected @ expected.T - 1).max() > 0.1  # the vectors are not all the same


def test_transformers_alone_gives_the_trainers_embeddings(folder, expected):
    """The example of the model card, run as it stands there."""
    card = Path(folder, "README.md").read_text()
    code = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[1].replace("print(", "(")
    code = re.sub(r"texts = \[.*\]", "texts = TEXTS", code)
    names = {"folder": folder, "TEXTS": TEXTS}
    exec(code, names)
    assert np.abs(names["embeddings"].numpy() - expected).max() <= 1e-5


def test_tokenizers_ids_are_the_trainers(folder, model):
    ids = AutoTokenizer.from_pretrained(folder)(TEXTS, truncation=True)["input_ids"]
    tokens = model[1].encode(TEXTS, LENGTH)
    assert ids == [a.tolist() for a in np.split(tokens.values, tokens.offsets[1:-1])]
    assert max(map(len, ids)) == LENGTH
    assert len(AutoTokenizer.from_pretrained(folder)(TEXTS[4], truncation=False)["input_ids"]) > LENGTH


def test_folder_is_what_sentence_transformers_saves_itself(folder, tmp_path):
    """Its own modules around the same weights, saved, equal our folder, loaded and saved."""
    transformer = modules.Transformer(
        folder, max_seq_length=LENGTH, model_kwargs={"add_pooling_layer": False}
    )
    layers = [transformer, modules.Pooling(32, "mean"), modules.Normalize()]
    SentenceTransformer(modules=layers, similarity_fn_name="cosine", device="cpu").save(str(tmp_path / "own"))
    SentenceTransformer(folder, device="cpu").save(str(tmp_path / "ours"))
    for name in ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json",
                 "1_Pooling/config.json", "config.json", "model.safetensors"):  # fmt: skip
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "own" / name).read_bytes(), name


def test_loading_for_more_training_or_evaluation(folder, model, expected):
    loaded = load_model(folder)
    assert (loaded.max_length, loaded.tokenizer.fingerprint) == (LENGTH, model[1].fingerprint)
    assert np.abs(loaded.embed(TEXTS, 64) - expected).max() <= 1e-6


def test_half_precision_is_exported_in_single_precision(model, card, tmp_path):
    tokenizer = model[1]
    halved = build_encoder(
        ModelConfig("scratch", hidden_size=32, layers=1, heads=2, intermediate_size=48),
        tokenizer.vocab_size, tokenizer.pad_id, LENGTH, seed=0,
    ).to(torch.bfloat16)  # fmt: skip
    export_model(halved, tokenizer, str(tmp_path / "m"), card)
    assert AutoModel.from_pretrained(tmp_path / "m", add_pooling_layer=False).dtype == torch.float32
    assert next(halved.parameters()).dtype == torch.bfloat16


def test_backbone_without_a_pooler_that_is_padded(model, card, tmp_path):
    """DistilBERT: another class, other names in its config, no token types."""
    tokenizer = model[1]
    shape = DistilBertConfig(vocab_size=300, dim=24, n_layers=1, n_heads=2, hidden_dim=32)
    DistilBertModel(shape).save_pretrained(tmp_path / "base")
    encoder = build_encoder(
        ModelConfig(str(tmp_path / "base")), tokenizer.vocab_size, tokenizer.pad_id, LENGTH, seed=0
    )
    export_model(encoder, tokenizer, str(tmp_path / "m"), card)
    expected = np.asarray(encoder.encode(tokenizer.encode(TEXTS, LENGTH), 64))
    loaded = SentenceTransformer(str(tmp_path / "m"), device="cpu")
    assert np.abs(loaded.encode(TEXTS, batch_size=3) - expected).max() <= 1e-5
    assert "add_pooling_layer" not in (tmp_path / "m/README.md").read_text()


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("kind", ["bert", "roberta", "t5", "qwen2"])
def test_every_pooling_and_prompts_in_the_folder_and_in_the_cards_examples(kind, pooling, card, tmp_path):
    """As sentence-transformers and as transformers alone read them; T5 is its encoder."""
    decoder = SIZES | {"num_key_value_heads": 1, "bos_token_id": 2, "eos_token_id": 3}
    bare = bare_folder(tmp_path / "bare", kind, **{"t5": T5, "qwen2": decoder}.get(kind, SIZES))
    folder = model_folder(bare, tmp_path / "base")
    prompts = {"query": "river ", "passage": "of stones\n"}
    edit(folder, "config_sentence_transformers.json", prompts=prompts)
    tokenizer = load_tokenizer(folder)
    encoder = build_encoder(ModelConfig(folder, pooling=pooling), 120, 0, LENGTH, seed=0)
    export_model(encoder, tokenizer, str(tmp_path / "m"), card)
    queries, documents = (
        encoder.encode(tokenizer.encode(TEXTS, LENGTH, prompt), 64).numpy()
        for prompt in ("river ", "of stones\n")
    )
    theirs = SentenceTransformer(str(tmp_path / "m"), device="cpu")
    assert np.abs(theirs.encode_query(TEXTS) - queries).max() <= 1e-5
    assert np.abs(theirs.encode_document(TEXTS) - documents).max() <= 1e-5
    text = (tmp_path / "m/README.md").read_text()
    assert "no prompt or prefix is needed" not in text
    assert '"river " before queries and "of stones\\n" before documents' in text
    names = {"folder": str(tmp_path / "m")}
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(code[0].replace("print(", "("), names)
    query, document = (names[side][0] for side in ("queries", "documents"))
    exec(code[1].replace("print(", "("), names)
    assert np.abs(names["embeddings"].numpy() - np.stack([query, document])).max() <= 1e-5


def test_linear_layers_and_first_dimensions_in_the_folder_and_in_the_cards_example(card, tmp_path):
    layers = [modules.Dense(24, 40), modules.Dense(40, 16, False, torch.nn.Identity())]
    base = model_folder(bare_folder(tmp_path / "bare"), tmp_path / "base", dense=layers)
    encoder, tokenizer = build_encoder(ModelConfig(base), 120, 0, LENGTH, seed=0), load_tokenizer(base)
    full = encoder.encode(tokenizer.encode(TEXTS, LENGTH), 64).numpy()
    export_model(encoder, tokenizer, str(tmp_path / "whole"), card)
    encoder.truncate(16)
    encoder.truncate(6)
    export_model(encoder, tokenizer, str(tmp_path / "cut"), card)
    cut = full[:, :6] / np.linalg.norm(full[:, :6], axis=1, keepdims=True)
    for name, expected in (("whole", full), ("cut", cut)):
        folder = str(tmp_path / name)
        assert np.abs(SentenceTransformer(folder, device="cpu").encode(TEXTS) - expected).max() <= 1e-5
        assert np.abs(load_model(folder).embed(TEXTS, 64) - expected).max() <= 1e-6
        text = (tmp_path / name / "README.md").read_text()
        assert f"a vector of {expected.shape[1]} dimensions" in text
        names = {"folder": folder, "TEXTS": TEXTS}
        code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[1].replace("print(", "(")
        exec(re.sub(r"texts = \[.*\]", "texts = TEXTS", code), names)
        assert np.abs(names["embeddings"].numpy() - expected).max() <= 1e-5


def test_crash_leaves_the_old_folder_and_no_half_one(folder, model, card, tmp_path, monkeypatch):
    encoder, tokenizer = model
    target = tmp_path / "model"
    export_model(encoder, tokenizer, str(target), card)
    (target / "mark").write_text("old")

    def full(folder):
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(tokenizer), "save", lambda self, folder: full(folder))
        with pytest.raises(RunError, match=r"model: the model could not be written.*No space left"):
            export_model(encoder, tokenizer, str(target), card)
    assert (target / "mark").read_text() == "old"
    assert os.listdir(tmp_path) == ["model"]
    export_model(encoder, tokenizer, str(target), card)
    assert not (target / "mark").exists() and os.listdir(tmp_path) == ["model"]


def test_model_card(folder):
    card = Path(folder, "README.md").read_text()
    assert card.startswith("---\nlibrary_name: sentence-transformers\n")
    assert "| docs \\| web | 7 | 9 | 50.0 | 50.0 | 50.0 | 40.0 | 40.0 | 30.0 | 60.0 | 25.0 |" in card
    assert "| docs \\| web | web-page | 1,234 | 100.0 % |" in card
    assert "python -m gte_ray.pretrain --tracking-uri http://***@host" in card
    assert "secret" not in card
    settings = json.loads(re.search(r"```json\n(.*?)```", card, re.DOTALL)[1])
    assert settings["training"]["global_batch"] == 4 and "run" not in settings
