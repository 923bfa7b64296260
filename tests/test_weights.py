"""What stands for a base model in a fingerprint."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

from gte_ray import storage
from gte_ray.weights import ORIGIN_FILE, identity, of_run, origin_record


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    save_file({"a": np.arange(3.0)}, path / "model.safetensors")
    (path / "config.json").write_text("{}")
    return path


def test_words_and_ids_stand_for_themselves(tmp_path):
    assert identity("scratch") == "scratch"
    assert identity("google-bert/bert-base-uncased") == "google-bert/bert-base-uncased"
    assert identity(str(tmp_path)) == str(tmp_path)


@pytest.mark.parametrize("word", ["scratch", "bm25"])
def test_words_stand_for_themselves_whatever_folders_are_there(folder, word, monkeypatch):
    monkeypatch.chdir(folder.parent)
    folder.rename(word)
    assert storage.absolute_folder(word, "scratch", "bm25") == identity(word) == word
    assert storage.absolute_folder(f"./{word}", word) == str(folder.parent / word)
    assert identity(f"./{word}").startswith("weights ")


def test_a_folder_is_its_weights_wherever_it_is(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    assert identity(str(folder)) == identity(str(tmp_path / "copy"))
    assert identity(f"file://{folder}") == identity(str(folder))
    save_file({"a": np.arange(3.0) + 1e-7}, folder / "model.safetensors")
    assert identity(str(folder)) != identity(str(tmp_path / "copy"))


def test_a_model_that_a_run_made_is_that_run_until_somebody_changes_it(folder):
    weights = identity(str(folder))
    (folder / ORIGIN_FILE).write_text(json.dumps(origin_record(str(folder), "f" * 16)))
    assert identity(str(folder)) == of_run("f" * 16) != weights
    save_file({"a": np.arange(4.0)}, folder / "model.safetensors")
    assert identity(str(folder)) not in (of_run("f" * 16), weights)
    (folder / "config.json").write_text('{"layers": 2}')
    assert identity(str(folder)).startswith("weights ")
