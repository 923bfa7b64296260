"""What stands for a model in a fingerprint and for kept scores."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from gte_ray.pretrained import files
from gte_ray.pretrained.identity import ORIGIN_FILE, identity, of_run, origin_record
from gte_ray.runtime import storage


@pytest.fixture(params=["model", "proj [v2]/100%25 m?del"])
def folder(request, tmp_path):
    """As sentence-transformers saves one, also in folders of unusual names."""
    path = tmp_path / request.param
    (path / "1_Pooling").mkdir(parents=True)
    save_file({"a": np.arange(3.0)}, path / "model.safetensors")
    for name in FILES[1:]:
        (path / name).write_text("{}")
    modules = [{"path": "", "type": "Transformer"}, {"path": "1_Pooling", "type": "Pooling"}]
    (path / "modules.json").write_text(json.dumps(modules))
    return path


FILES = [
    "model.safetensors",
    "config.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "special_tokens_map.json",
    "modules.json",
]


def test_words_and_what_is_no_model_stand_for_themselves(tmp_path):
    assert identity("scratch") == "scratch"
    assert identity("bm25") == "bm25"
    assert identity("google-bert/bert-base-uncased") == "google-bert/bert-base-uncased"
    assert identity(str(tmp_path)) == str(tmp_path)


@pytest.mark.parametrize("word", ["scratch", "bm25"])
def test_words_stand_for_themselves_whatever_folders_are_there(folder, word, monkeypatch):
    monkeypatch.chdir(folder.parent)
    folder.rename(word)
    assert storage.absolute_folder(word, "scratch", "bm25") == identity(word) == word
    assert storage.absolute_folder(f"./{word}", word) == str(folder.parent / word)
    assert identity(f"./{word}").startswith("model ")


def test_a_folder_is_its_files_wherever_it_is(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    assert identity(str(folder)) == identity(str(tmp_path / "copy"))
    assert identity(f"file://{tmp_path}/copy") == identity(str(folder))
    save_file({"a": np.arange(3.0) + 1e-7}, folder / "model.safetensors")
    assert identity(str(folder)) != identity(str(tmp_path / "copy"))


@pytest.mark.parametrize("name", FILES)
def test_every_file_that_vectors_depend_on_counts(folder, name):
    """Also one of the same length, changed a moment after it was read, and one that is no more there."""
    before = identity(str(folder))
    content = (folder / name).read_bytes()
    assert identity(str(folder)) == before
    (folder / name).write_bytes(
        content[:-1] + bytes([content[-1] ^ 1]) if name != "modules.json" else content + b" "
    )
    changed = identity(str(folder))
    (folder / name).unlink()
    assert len({before, changed, identity(str(folder))}) == 3


def test_what_vectors_do_not_depend_on_does_not_count(folder):
    before = identity(str(folder))
    for name in (
        "README.md",
        ".gitattributes",
        "onnx/model.onnx",
        "checkpoint-5/model.safetensors",
        "pytorch_model.bin",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    assert identity(str(folder)) == before


@pytest.mark.parametrize(
    "names", [["pytorch_model.bin"], ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]]
)
def test_weights_of_torchs_own_format_count(folder, names):
    (folder / "model.safetensors").unlink()
    for name in names:
        torch.save({name: torch.zeros(2)}, folder / name)
    before = identity(str(folder))
    assert before.startswith("model ")
    torch.save({names[-1]: torch.ones(2)}, folder / names[-1])
    assert identity(str(folder)) != before


def test_a_transformer_in_a_folder_of_its_own_counts(folder):
    """The layout of sentence-transformers' first releases."""
    (folder / "0_Transformer").mkdir()
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        shutil.move(folder / name, folder / "0_Transformer" / name)
    (folder / "modules.json").write_text(json.dumps([{"path": "0_Transformer"}, {"path": "1_Pooling"}]))
    before = identity(str(folder))
    assert before.startswith("model ")
    (folder / "0_Transformer/tokenizer.json").write_text("[]")
    assert identity(str(folder)) != before


def test_a_model_that_a_run_made_is_that_run_until_somebody_changes_it(folder):
    content = identity(str(folder))
    (folder / ORIGIN_FILE).write_text(json.dumps(origin_record(str(folder), "f" * 16)))
    assert identity(str(folder)) == of_run("f" * 16) != content
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode": "cls"}')
    assert identity(str(folder)) not in (of_run("f" * 16), content)
    assert identity(str(folder)).startswith("model ")


def test_a_record_of_an_older_release_is_no_longer_believed(folder):
    """It was of weights and config.json alone."""
    content = identity(str(folder))
    (folder / ORIGIN_FILE).write_text(json.dumps({"run": "f" * 16, "weights": "0" * 64}))
    assert identity(str(folder)) == content


def test_an_id_of_the_hub_is_its_commit(tmp_path, monkeypatch):
    commits = iter(["a" * 40, "b" * 40])
    asked = []

    def snapshot_download(name, allow_patterns):
        asked.append(allow_patterns)
        return str(tmp_path / "snapshots" / next(commits))

    monkeypatch.setattr(files.huggingface_hub, "snapshot_download", snapshot_download)
    assert identity("me/model") == f"me/model@{'a' * 40}"
    assert identity("me/model") == f"me/model@{'b' * 40}"
    assert asked == [["config.json"]] * 2  # no weights, only to know the commit


def fetched_of(hub: dict[str, str], folder, monkeypatch) -> set[str]:
    """The files of a model on the hub, by name and content, that loading it fetches."""

    def snapshot_download(name, allow_patterns):
        from huggingface_hub.utils import filter_repo_objects

        for file in filter_repo_objects(list(hub), allow_patterns=allow_patterns):
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(hub[file])
        return str(folder)

    monkeypatch.setattr(files.huggingface_hub, "snapshot_download", snapshot_download)
    with files.model_folder("me/model") as found:
        return {str(path.relative_to(found)) for path in found.rglob("*") if path.is_file()}


@pytest.mark.parametrize("safe", [True, False])
def test_pickled_weights_are_fetched_where_there_are_no_others(safe, tmp_path, monkeypatch):
    hub = dict.fromkeys(["config.json", "1_Pooling/config.json", "pytorch_model.bin", "modeling.py"], "")
    hub |= {"model.safetensors": ""} if safe else {}
    weights = "model.safetensors" if safe else "pytorch_model.bin"
    assert fetched_of(hub, tmp_path, monkeypatch) == {"config.json", "1_Pooling/config.json", weights}


@pytest.mark.parametrize("inner", ["", "0_Transformer"])
def test_each_module_has_weights_of_its_own(inner, tmp_path, monkeypatch):
    """A layer's may be pickled beside a transformer's that are not, which may be in a folder of its own."""
    modules = [("Transformer", inner), ("Pooling", "1_Pooling"), ("Dense", "2_Dense"), ("Dense", "3_Dense")]
    record = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in modules]
    start = f"{inner}/" if inner else ""
    wanted = [f"{start}model.safetensors", "2_Dense/pytorch_model.bin", "3_Dense/model.safetensors"]
    others = [f"{start}pytorch_model.bin", "3_Dense/pytorch_model.bin", "onnx/model.bin"]
    hub = {"modules.json": json.dumps(record), **dict.fromkeys(wanted + others, "")}
    assert fetched_of(hub, tmp_path, monkeypatch) == {"modules.json", *wanted}


def test_a_file_is_read_once_while_it_stays(folder):
    paths = [folder / name for name in FILES]
    settle(paths, 10**18)
    first = identity(str(folder))
    for path in paths:  # other bytes, of which size and time of change tell nothing
        content = path.read_bytes()
        other = content[:-1] + bytes([content[-1] ^ 1])
        path.write_bytes(other if path.name != "modules.json" else content.replace(b" ", b"\t"))
    settle(paths, 10**18)
    assert identity(str(folder)) == first
    for path in paths:
        settle([path], 10**18 + 10**9)
        assert identity(str(folder)) != first
        first = identity(str(folder))


def settle(paths, ns):
    """Gives files a time of change of long ago."""
    for path in paths:
        os.utime(path, ns=(ns, ns))


def test_a_model_in_a_bucket(folder, bucket, tmp_path):
    """Its settings are read without its weights, which may be large."""
    uri = f"s3://bucket/{tmp_path.name}"
    storage.upload(str(folder), uri)
    assert identity(uri) == identity(str(folder))
    with files.model_folder(uri, weights=False) as found:
        names = {str(path.relative_to(found)) for path in found.rglob("*") if path.is_file()}
    assert names == set(FILES) - {"model.safetensors"}
    with files.model_folder(uri) as found:
        assert (found / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    with (
        pytest.raises(files.ModelNotFound, match="no such folder"),
        files.model_folder(f"{uri}-x"),
    ):
        pass
