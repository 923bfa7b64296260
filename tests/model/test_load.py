"""Models from elsewhere give the vectors that sentence-transformers gives, or one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from gte_ray.config import ModelConfig
from gte_ray.errors import RunError
from gte_ray.model.load import build_encoder, check_base, check_model, load_model
from tests.model.folders import (
    POOLING,
    PROMPTS,
    T5,
    TEXTS,
    TRANSFORMER,
    XLNET,
    assert_same,
    bare_folder,
    cased_tokenizer,
    edit,
    model_folder,
    old_layout,
)


@pytest.fixture(scope="module", params=["packed", "padded"])
def bare(request, tmp_path_factory):
    """A transformers folder of random weights, of a kind that is packed or one that is padded."""
    kind = "bert" if request.param == "packed" else "roberta"
    return bare_folder(tmp_path_factory.mktemp("bare"), kind)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
def test_sentence_transformers_folders(bare, pooling, normalize, tmp_path):
    folder = model_folder(bare, tmp_path, pooling, normalize, prompts={"query": "river ", "document": "a "})
    assert load_model(folder).max_length == 30
    assert_same(folder)
    assert_same(old_layout(folder))


@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
def test_training_pools_as_the_folder_does(bare, pooling, tmp_path):
    folder = model_folder(bare, tmp_path, pooling)
    encoder = build_encoder(ModelConfig(folder), 120, 0, 16, seed=0)
    tokens = load_model(folder).tokenizer.encode(TEXTS, 30)
    expected = SentenceTransformer(folder, device="cpu").encode(TEXTS)
    assert np.abs(encoder.encode(tokens, 64).numpy() - expected).max() <= 1e-5
    asked = build_encoder(ModelConfig(folder, pooling="cls"), 120, 0, 16, seed=0)
    assert asked.pooling == "cls"


def test_a_bare_encoder_is_pooled_by_the_mean(bare):
    ours = load_model(bare)
    theirs = SentenceTransformer(bare, device="cpu")
    theirs.max_seq_length = ours.max_length
    assert np.abs(ours.embed(TEXTS, 64) - theirs.encode(TEXTS)).max() <= 1e-5


def test_a_bare_decoder_is_pooled_by_its_last_token(tmp_path):
    folder = bare_folder(
        tmp_path, "qwen2", vocab_size=300, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, intermediate_size=32, pad_token_id=0, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    edit(folder, "config.json", architectures=["Qwen2ForCausalLM"])
    theirs, ours = SentenceTransformer(folder, device="cpu"), load_model(folder)
    assert np.abs(ours.embed(TEXTS, 64) - theirs.encode(TEXTS)).max() <= 1e-5


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("t5", T5), ("xlnet", XLNET), ("mpnet", {}), ("xlm-roberta", {}), ("distilbert", {"vocab_size": 300, "dim": 24,
     "n_layers": 1, "n_heads": 2, "hidden_dim": 32}), ("deberta-v2", {}), ("electra", {}), ("albert", {})],
)  # fmt: skip
def test_other_backbones(kind, shape, tmp_path):
    assert_same(model_folder(bare_folder(tmp_path / "bare", kind, **shape), tmp_path / "model"))


@pytest.mark.parametrize(
    ("keys", "pooling"),
    [({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
     ({"pooling_mode_lasttoken": True}, "last"), ({"pooling_mode_mean_tokens": False}, "mean"), ({}, "mean")],
)  # fmt: skip
def test_the_old_keys_of_pooling_are_known(own, keys, pooling):
    Path(own, POOLING).write_text(json.dumps({"word_embedding_dimension": 24} | keys))
    assert load_model(own).encoder.pooling == pooling
    assert_same(own)


def test_texts_are_lower_cased_where_the_folder_says_so(tmp_path):
    bare = tmp_path / "bare"
    bare_folder(bare)
    cased_tokenizer(bare)
    folder = model_folder(str(bare), tmp_path / "model")
    before = load_model(folder).embed(TEXTS, 64)
    edit(folder, TRANSFORMER, do_lower_case=True)
    assert np.abs(load_model(folder).embed(TEXTS, 64) - before).max() > 1e-3
    assert_same(folder)


def test_other_names_of_the_transformers_settings(own):
    Path(own, TRANSFORMER).rename(Path(own, "sentence_roberta_config.json"))
    edit(own, "sentence_roberta_config.json", max_seq_length=9)
    assert load_model(own).max_length == 9
    assert_same(own)


def test_a_default_prompt_is_for_texts_that_are_no_queries_and_documents(own):
    edit(own, PROMPTS, prompts={"retrieval": "river stone "}, default_prompt_name="retrieval")
    assert_same(own)
    assert any("neither queries nor documents" in note for note in check_model(own))


def test_a_passage_prompt_is_put_in_front_of_documents_and_told(own):
    """sentence-transformers adds an empty prompt named document, which hides it from encode_document."""
    edit(own, PROMPTS, prompts={"query": "river ", "passage": "cloud "})
    theirs, ours = SentenceTransformer(own, device="cpu"), load_model(own)
    expected = theirs.encode(TEXTS, prompt_name="passage")
    assert np.abs(ours.documents(TEXTS, 64) - expected).max() <= 1e-5
    assert any("'passage' is put in front of documents" in note for note in ours.notes)


def test_an_empty_document_prompt_goes_before_a_passage_prompt_and_that_is_told(own):
    """As sentence-transformers saves a model that was made with the latter alone."""
    edit(own, PROMPTS, prompts={"query": "river ", "passage": "cloud ", "document": ""})
    assert_same(own)
    assert any("'passage' is not put in front of documents" in note for note in check_model(own))


def test_what_is_followed_in_another_way_is_told(own):
    assert check_model(own) == ()
    edit(own, PROMPTS, similarity_fn_name="dot")
    edit(own, "tokenizer_config.json", padding_side="left")
    notes = " ".join(check_model(own))
    assert "made for dot similarity; its vectors are compared by cosine" in notes
    assert "pads texts on the left" in notes


def test_last_token_pooling_is_trained_with_a_special_token_at_the_end_alone(own):
    check_base(ModelConfig(own, pooling="last"), 16)
    content = json.loads(Path(own, "tokenizer.json").read_text())
    content["post_processor"] = None
    Path(own, "tokenizer.json").write_text(json.dumps(content))
    check_base(ModelConfig(own), 16)
    with pytest.raises(RunError, match="no special token at the end of a text"):
        check_base(ModelConfig(own, pooling="last"), 16)


def test_a_model_that_names_no_longest_text_is_told(tmp_path):
    folder = bare_folder(tmp_path, "t5", **T5)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config.pop("model_max_length", None)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert check_model(folder) == (f"{folder}: names no longest text, so texts are cut at 512 tokens",)
