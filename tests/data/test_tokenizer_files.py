"""Tokenizers of model folders: what comes with them, and what they may not do."""

import json
import pickle
import shutil

import pytest

from gte_ray.data.tokenize import load_tokenizer, train_wordpiece
from gte_ray.errors import RunError


@pytest.fixture(scope="module")
def wordpiece(tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("wordpiece"))
    train_wordpiece(["river stone cloud"] * 3, 120, folder)
    return folder


def test_prompts_come_with_a_models_tokenizer_and_do_not_count_in_its_fingerprint(wordpiece, tmp_path):
    folder = shutil.copytree(wordpiece, tmp_path / "model")
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path}
               for kind, path in (("Transformer", ""), ("Pooling", "1_Pooling"))]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text("{}")
    prompts = {"prompts": {"query": "q: ", "document": "d: "}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    tokenizer = load_tokenizer(str(folder))
    assert (tokenizer.prompts.query, tokenizer.prompts.document) == ("q: ", "d: ")
    assert pickle.loads(pickle.dumps(tokenizer)).prompts == tokenizer.prompts
    assert tokenizer.fingerprint == load_tokenizer(wordpiece).fingerprint


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("tokenizer.json", lambda v: v["model"].update(type="Future"), "no tokenizer could be loaded"),
        ("tokenizer_config.json", lambda v: v.update(truncation_side="left"), "truncation_side = 'left'"),
        ("tokenizer_config.json", lambda v: v.update(pad_token=None), "a padding token"),
        ("tokenizer.json", lambda v: v["post_processor"]["single"][0]["SpecialToken"].update(type_id=2),
         "tokens of a text several types"),
    ],
)  # fmt: skip
def test_what_a_tokenizer_does_and_is_not_done_here_is_refused(wordpiece, tmp_path, file, change, said):
    folder = shutil.copytree(wordpiece, tmp_path / "model")
    value = json.loads((folder / file).read_text())
    change(value)
    (folder / file).write_text(json.dumps(value))
    if "types" in said:
        config = json.loads((folder / "tokenizer_config.json").read_text())
        config["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=said) as caught:
        load_tokenizer(str(folder))
    assert str(caught.value).startswith(str(folder)) and "\n" not in str(caught.value)
