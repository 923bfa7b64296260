"""Settings of model folders that are not followed: refused by their names, alike in scoring and in training."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling, Transformer
from transformers import Wav2Vec2Config, Wav2Vec2Model

from gte_ray.config import ModelConfig
from gte_ray.errors import RunError
from gte_ray.model.load import check_base, check_fit, check_model, load_model
from tests.model.folders import POOLING, PROMPTS, TRANSFORMER, bare_folder, edit, refusal

REFUSED = [
    (POOLING, {"pooling_mode": "max"}, 'pooling_mode = "max"; allowed is mean, cls, lasttoken'),
    (POOLING, {"pooling_mode": ["mean", "cls"]}, 'pooling_mode = "mean+cls"'),
    (PROMPTS, {"default_prompt_name": "x"}, 'default_prompt_name = "x"; allowed is one of'),
    (PROMPTS, {"truncate_dim": 8}, "truncate_dim = 8"),
    (PROMPTS, {"model_type": "SparseEncoder"}, 'model_type = "SparseEncoder"'),
    (PROMPTS, {"prompts": ["a"]}, "prompts = "),
    (TRANSFORMER, {"query_length": 8}, "query_length = 8; allowed is none"),
    (TRANSFORMER, {"max_seq_length": 0}, "max_seq_length = 0"),
    (TRANSFORMER, {"transformer_task": "fill-mask"}, "transformer_task"),
    (TRANSFORMER, {"tokenizer_args": {"model_max_length": 9}}, "tokenizer_args.model_max_length = 9"),
    (TRANSFORMER, {"what": 1}, "what = 1"),
    ("tokenizer_config.json", {"truncation_side": "left"}, "truncation_side = 'left'; allowed is 'right'"),
    ("2_Normalize/config.json", {"module_input_name": "token_embeddings"}, "module_input_name"),
]


@pytest.mark.parametrize(("file", "values", "said"), REFUSED, ids=[said for _, _, said in REFUSED])
def test_settings_that_are_not_followed_are_refused_by_name(own, file, values, said):
    edit(own, file, **values)
    sentence = refusal(own, built=file != "tokenizer_config.json")
    assert said in sentence
    assert file in sentence or file == "tokenizer_config.json"


def test_modules_that_are_not_followed_are_refused_by_name(own, tmp_path):
    bare = bare_folder(tmp_path / "bare")
    more = [Transformer(bare), Pooling(24, "mean"), LayerNorm(24)]
    SentenceTransformer(modules=more, device="cpu").save(str(tmp_path / "more"))
    assert "modules.json names Transformer, Pooling, LayerNorm; allowed are" in refusal(
        str(tmp_path / "more")
    )
    modules = json.loads(Path(own, "modules.json").read_text())
    modules[0]["type"] = "custom.Transformer"
    for content, said in ((json.dumps(modules), "names custom.Transformer"), ("{", "is not JSON"),
                          ("[]", "names no modules"), ("[1]", "is no list of modules")):  # fmt: skip
        Path(own, "modules.json").write_text(content)
        assert f"modules.json {said}" in refusal(own)


def test_a_length_that_leaves_no_token_to_a_text_is_refused(own):
    """Every text would have the same vector."""
    edit(own, PROMPTS, prompts={"query": "river stone a"})
    edit(own, TRANSFORMER, max_seq_length=5)
    with pytest.raises(RunError, match="its prompt 'river stone a' would leave no token of it to a text"):
        check_model(own)
    with pytest.raises(RunError, match="max_length is 5, and its prompt"):
        check_base(ModelConfig(own), 5)
    edit(own, PROMPTS, prompts={})
    assert check_model(own) == ()
    edit(own, TRANSFORMER, max_seq_length=2)
    with pytest.raises(RunError, match="max_length is 2, and special tokens would leave no token"):
        check_model(own)


def test_weights_that_are_not_finite_are_refused(own):
    file = Path(own, "model.safetensors")
    weights = {name: value * float("nan") for name, value in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(RunError, match="the vector of a short text is not finite"):
        check_model(own)


def test_a_folder_that_is_not_there():
    with pytest.raises(RunError, match="no such folder here, and the Hugging Face hub gives no such model"):
        load_model("somebody/no-such-model")
    with pytest.raises(RunError, match="runs/nosuch/model: no such folder here"):
        check_base(ModelConfig("runs/nosuch/model"), 16)


def test_an_adapter_is_told_from_a_model(own, tmp_path):
    """Beside a model too, where transformers would load it."""
    alone = tmp_path / "adapter"
    alone.mkdir()
    for folder in (alone, Path(own)):
        (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/base"}))
        with pytest.raises(
            RunError, match=r"has an adapter \(adapter_config.json\), of org/base, which is not followed"
        ):
            check_model(str(folder))
        with pytest.raises(
            RunError, match=r"allowed are whole models, such as peft's merge_and_unload makes"
        ):
            check_base(ModelConfig(str(folder)), 16)


def test_a_backbone_that_reads_no_tokens_is_refused():
    """One of sounds."""
    narrow = {"conv_dim": (8,), "conv_stride": (5,), "conv_kernel": (10,), "num_feat_extract_layers": 1}
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    positions = {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    backbone = Wav2Vec2Model(Wav2Vec2Config(**narrow, **shape, **positions))
    with pytest.raises(RunError, match=r"^some: wav2vec2 has no table of tokens$"):
        check_fit("some", backbone, vocab_size=10, max_length=5)
