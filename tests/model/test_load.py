"""Models from elsewhere give the vectors that sentence-transformers gives, or one sentence."""

import json

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling as PoolingModule
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

from gte_ray.data.tokenize import train_wordpiece
from gte_ray.errors import RunError
from gte_ray.model.load import load_model

TEXTS = ["river stone", "a river of stones " * 30, "stone", "clouds over the river"]


@pytest.fixture(scope="module", params=["packed", "padded"])
def bare(request, tmp_path_factory):
    """A transformers folder of random weights, of a kind that is packed or one that is padded."""
    folder = str(tmp_path_factory.mktemp("bare"))
    train_wordpiece(TEXTS * 3, 120, folder)
    sizes = {"vocab_size": 200, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
             "intermediate_size": 32, "max_position_embeddings": 40, "pad_token_id": 0}  # fmt: skip
    if request.param == "packed":
        BertModel(BertConfig(**sizes)).save_pretrained(folder)
    else:
        RobertaModel(RobertaConfig(**sizes)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("modules", [["mean"], ["cls"], ["mean", Normalize()], ["cls", Normalize()]], ids=str)
def test_sentence_transformers_folders(bare, modules, tmp_path):
    transformer = Transformer(bare, max_seq_length=30)
    pooling = PoolingModule(24, modules[0])
    theirs = SentenceTransformer(
        modules=[transformer, pooling, *modules[1:]], device="cpu", prompts={"query": "q: "}
    )
    theirs.save(str(tmp_path))
    ours = load_model(str(tmp_path))
    assert ours.max_length == 30
    assert (ours.prompts.query, ours.prompts.document) == ("q: ", "")
    assert np.abs(ours.embed(TEXTS, 64) - theirs.encode(TEXTS)).max() <= 1e-5
    asked = theirs.encode(TEXTS, prompt_name="query")
    assert np.abs(ours.embed(TEXTS, 64, ours.prompts.query) - asked).max() <= 1e-5


def test_a_bare_encoder_is_pooled_by_the_mean(bare):
    ours = load_model(bare)
    theirs = SentenceTransformer(bare, device="cpu")
    theirs.max_seq_length = ours.max_length
    assert np.abs(ours.embed(TEXTS, 64) - theirs.encode(TEXTS)).max() <= 1e-5


def test_the_old_keys_of_pooling_are_known(bare, tmp_path):
    SentenceTransformer(modules=[Transformer(bare), PoolingModule(24, "cls")], device="cpu").save(
        str(tmp_path)
    )
    expected = load_model(str(tmp_path)).embed(TEXTS, 64)
    keys = {"word_embedding_dimension": 24, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (tmp_path / "1_Pooling/config.json").write_text(json.dumps(keys))
    assert np.array_equal(load_model(str(tmp_path)).embed(TEXTS, 64), expected)


def test_what_cannot_be_loaded_is_told_in_one_sentence(bare, tmp_path):
    dense = [Transformer(bare), PoolingModule(24, "mean"), Dense(24, 8)]
    SentenceTransformer(modules=dense, device="cpu").save(str(tmp_path / "dense"))
    with pytest.raises(RunError, match=r"modules\.json names Transformer, Pooling, Dense; allowed are"):
        load_model(str(tmp_path / "dense"))
    maximum = [Transformer(bare), PoolingModule(24, "max")]
    SentenceTransformer(modules=maximum, device="cpu").save(str(tmp_path / "max"))
    with pytest.raises(
        RunError, match=r'1_Pooling/config\.json says pooling_mode = "max"; allowed is mean, cls, lasttoken'
    ):
        load_model(str(tmp_path / "max"))
    with pytest.raises(RunError, match="no such folder here, and the Hugging Face hub gives no such model"):
        load_model("somebody/no-such-model")
