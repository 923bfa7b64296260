"""Which files a split of a data set has: by its README, by words in names, on the Hub and in a folder."""

from functools import partial

import huggingface_hub
import pytest
from huggingface_hub import HfFileSystem, constants

from gte_ray.errors import RunError, UsageError
from gte_ray.readers.chunks import read_pairs
from gte_ray.readers.dataset_folder import Chosen
from gte_ray.readers.formats import Piece
from gte_ray.readers.source_file import read_source_file
from gte_ray.readers.spec import SourceSpec
from tests.hub import Hub

CONFIGS = """---
license: mit
configs:
- config_name: pair
  data_files:
  - split: train
    path: pair/train-*
  - split: test
    path: ["pair/test-0.jsonl", "pair/test-1.jsonl"]
- config_name: triplet
  data_files: "triplet/*.jsonl"
- config_name: folder
  data_dir: words
---
# A data set
"""


@pytest.fixture
def folder(tmp_path):
    """A data set of three configs, whose files' only query is their name."""
    root = tmp_path / "hub" / "owner" / "pairs"
    for name in ("pair/train-0", "pair/train-1", "pair/test-0", "pair/test-1", "triplet/all",
                 "words/my-training", "words/dev/one", "words/other", "untrained"):  # fmt: skip
        path = root / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{{"query": "{name}", "document": "text of {name}"}}\n')
    (root / "README.md").write_text(CONFIGS)
    return root


@pytest.fixture
def hub(folder, monkeypatch):
    served = Hub(folder.parents[1])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    here = partial(HfFileSystem, endpoint=served.url, token=False, skip_instance_cache=True)
    monkeypatch.setattr(huggingface_hub, "HfFileSystem", here)
    yield served
    served.close()


def queries(glob, config="", split=""):
    files, _ = SourceSpec("a", str(glob), "code", chosen=Chosen(config, split)).files()
    spec = SourceSpec("a", str(glob), "code")
    tables = [chunk.table for file in files for chunk in read_pairs(Piece(file.uri), spec.reading)]
    return [text for table in tables for text in table.column("query").to_pylist()]


@pytest.mark.parametrize(
    ("config", "split", "expected"),
    [
        ("pair", "", ["pair/train-0", "pair/train-1"]),
        ("pair", "test", ["pair/test-0", "pair/test-1"]),
        ("triplet", "", ["triplet/all"]),
        ("folder", "", ["words/my-training"]),
        ("folder", "validation", ["words/dev/one"]),
    ],
)
def test_a_config_and_a_split_name_files(folder, hub, config, split, expected):
    assert queries(folder, config, split) == expected
    assert queries("hf://datasets/owner/pairs", config, split) == expected
    assert queries("hf://datasets/owner/pairs@main", config, split) == expected


@pytest.mark.parametrize(
    ("config", "split", "message"),
    [
        ("", "", 'has several configs; name one, as config = "pair"; allowed are pair, triplet, folder'),
        ("other", "", "has no config 'other'; allowed are pair, triplet, folder"),
        ("pair", "dev", "has no split 'dev'; allowed are train, test"),
    ],
)
def test_what_is_not_clear_is_refused_with_what_there_is(folder, config, split, message):
    with pytest.raises(RunError) as caught:
        queries(folder, config, split)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"source a: {folder}")


def test_the_default_config_is_taken(folder):
    (folder / "README.md").write_text(CONFIGS.replace("name: triplet\n", "name: triplet\n  default: true\n"))
    assert queries(folder) == ["triplet/all"]


def test_a_data_set_of_the_hub_without_configs(folder, hub):
    (folder / "README.md").write_text("# Nothing is said of files\n")
    url = "hf://datasets/owner/pairs"
    assert queries(url) == ["pair/train-0", "pair/train-1", "words/my-training"]
    assert queries(url, split="test") == ["pair/test-0", "pair/test-1"]
    with pytest.raises(RunError, match=r"has no config 'pair'; it names none"):
        queries(url, "pair")
    for path in (*folder.glob("pair/t*"), *folder.glob("words/*.jsonl"), *folder.glob("words/dev/*")):
        path.unlink()
    (folder / "README.md").unlink()
    assert queries(url) == ["triplet/all", "untrained"]
    with pytest.raises(RunError, match="is a folder; name its files"):
        queries(folder)  # of files that may be anything
    assert queries(folder, split="train") == ["triplet/all", "untrained"]  # unless one says that it is one


def test_numbered_files_are_of_the_split_that_they_are_named_after(folder):
    for name in ("data/train_sft-00000-of-00002", "data/train_sft-00001-of-00002", "pair-00000-of-00001"):
        path = folder / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'{{"query": "{name}", "document": "d"}}\n')
    (folder / "README.md").unlink()
    (folder / "dataset_infos.json").write_text('{"query": "infos", "document": "d"}\n')
    assert queries(folder, split="train_sft") == [
        "data/train_sft-00000-of-00002",
        "data/train_sft-00001-of-00002",
    ]
    assert queries(folder, split="pair") == ["pair-00000-of-00001"]
    with pytest.raises(RunError, match="has no split 'train'; allowed are train_sft, pair"):
        queries(folder, split="train")


@pytest.mark.parametrize(
    ("configs", "reason"),
    [
        ("configs: [{config_name", "README.md does not say which files there are"),
        ("configs:\n  a: b", "configs is no list of tables"),
        ("configs:\n- data_files:\n  - path: x", "an entry of data_files has no split"),
        ("configs:\n- data_files:\n  - split: train", "an entry of data_files has no path"),
        ("configs:\n- data_files:\n  - {split: train, path: 5}", "not iterable"),
        ("configs:\n- data_files: ../other/x.jsonl", "../other/x.jsonl is outside of the data set"),
        ("configs:\n- data_files: file:///etc/x.jsonl", "file:///etc/x.jsonl is outside of the data set"),
        ("configs:\n- data_dir: /etc", "/etc is outside of the data set"),
        ("configs:\n- data_files: nothing-*", "none of the files that its README.md names for train"),
    ],
)
def test_a_readme_that_cannot_be_followed_is_named(folder, configs, reason):
    (folder / "README.md").write_text(f"---\n{configs}\n---\n")
    with pytest.raises(RunError) as caught:
        queries(folder)
    assert reason in str(caught.value) and str(caught.value).startswith(f"source a: {folder}")


def test_any_folder_name_and_a_byte_order_mark(folder):
    moved = folder.rename(folder.parent / "pairs [1] x")
    (moved / "README.md").write_text("\ufeff" + CONFIGS)
    assert queries(moved, "pair", "test") == ["pair/test-0", "pair/test-1"]


def test_only_the_folder_of_a_data_set_has_configs(folder, tmp_path):
    with pytest.raises(RunError, match="config and split are of a data set's folder"):
        queries(folder / "pair" / "*.jsonl", "pair")
    sources = tmp_path / "sources.toml"
    text = f'[sources.a]\nfiles = "{folder}"\nconfig = "pair"\nsplit = "test"\ntask = "code"\n'
    sources.write_text(text)
    (spec,) = read_source_file(str(sources))
    assert [file.uri.rsplit("/", 1)[1] for file in spec.files()[0]] == ["test-0.jsonl", "test-1.jsonl"]
    sources.write_text(text.replace("config =", "configs ="))
    with pytest.raises(UsageError, match="there is no setting 'configs'; 'config' is nearest"):
        read_source_file(str(sources))


def test_a_data_set_that_the_hub_does_not_have(hub):
    with pytest.raises(
        RunError, match="source a: the Hub has no hf://datasets/owner/nothing; one that is private"
    ):
        queries("hf://datasets/owner/nothing")


def test_a_join_may_be_of_a_data_set(folder, tmp_path):
    sources = tmp_path / "sources.toml"
    sources.write_text(
        f'[sources.a]\nfiles = "{folder}"\nconfig = "pair"\ntask = "code"\n'
        f'join.more = {{files = "{folder}", config = "pair", split = "test", on = "query", key = "query"}}\n'
    )
    (spec,) = read_source_file(str(sources))
    ((first, second),) = spec.joined_files()
    assert [first.uri.rsplit("/", 1)[1], second.uri.rsplit("/", 1)[1]] == ["test-0.jsonl", "test-1.jsonl"]
