"""`split_by`: a source of its own for each value, so that no batch mixes tasks."""

import json

import pytest

from gte_ray.data import prepare_store
from gte_ray.data.prepare_store import prepare
from gte_ray.data.sorted_source import group_name
from gte_ray.errors import RunError, UsageError
from gte_ray.readers.reading import Reading
from gte_ray.readers.spec import SourceSpec
from tests.data.conftest import write_lines

MEDI = Reading(query="query[1]", document="pos[1]", negatives="neg[1]", split_by="task_id")


def rows(tasks: int = 3, each: int = 40) -> list[dict]:
    """MEDI's rows, its tasks shuffled."""
    return [
        {
            "query": ["Represent;", f"query {task} {number}"],
            "pos": ["Represent;", f"document {task} {number}"],
            "neg": ["Represent;", f"negative {task} {number}"],
            "task_id": task,
        }
        for number in range(each)
        for task in range(tasks)
    ]


def medi(folder, content: list[dict], reading: Reading = MEDI, **more) -> SourceSpec:
    (folder / "medi.json").write_text(json.dumps(content))
    return SourceSpec("medi", str(folder / "medi.json"), "others", reading, **more)


def texts(store, name: str) -> set[str]:
    info = store.source(name)
    return set(store.read_rows(name, 0, info.rows, ["document"]).column("document").to_pylist())


def test_each_value_is_a_source_and_all_pairs_are_there(ray_local, tmp_path):
    spec = medi(tmp_path, [*rows(), {"query": ["", "no task"], "pos": ["", "d"], "neg": []}])
    store = prepare(str(tmp_path / "store"), [spec], held_out_share=0)
    assert [source.name for source in store.manifest.sources] == ["medi.0", "medi.1", "medi.2"]
    for task in range(3):
        assert texts(store, f"medi.{task}") == {f"document {task} {number}" for number in range(40)}
        assert store.source(f"medi.{task}").negatives == 40
    assert [source.dropped for source in store.manifest.sources] == [
        {"without a value to split by": 1},
        {},
        {},
    ]
    assert not list(tmp_path.glob("store/.sorting*"))


def test_the_same_command_does_nothing_again_and_changed_input_replaces_all_parts(
    ray_local, tmp_path, monkeypatch
):
    spec = medi(tmp_path, rows())
    store = prepare(str(tmp_path / "store"), [spec])
    with monkeypatch.context() as patch:
        patch.setattr("gte_ray.data.two_passes.sort_unit", lambda job: pytest.fail("read again"))
        again = prepare(store.uri, [spec])
    assert again.manifest == store.manifest
    fewer = prepare(store.uri, [medi(tmp_path, rows(tasks=2))])
    assert [source.name for source in fewer.manifest.sources] == ["medi.0", "medi.1"]
    assert not list(tmp_path.glob("store/medi.2*"))
    # The pairs of a task are as they were, so its folder is too.
    assert fewer.source("medi.0").folder == store.source("medi.0").folder
    other = SourceSpec("other", str(write_lines(tmp_path / "o.jsonl", [["a", "b"], ["c", "d"]])), "others")
    both = prepare(store.uri, [other])
    assert [source.name for source in both.manifest.sources] == ["medi.0", "medi.1", "other"]
    left = prepare(store.uri, [], remove=["medi"])
    assert [source.name for source in left.manifest.sources] == ["other"]


def test_a_call_that_is_cut_off_between_parts_goes_on(ray_local, tmp_path, monkeypatch):
    finish = prepare_store.finish_store
    done = []

    def once(uri, source, info, unfinished):
        if done:
            raise KeyboardInterrupt
        done.append(source.name)
        return finish(uri, source, info, unfinished)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(prepare_store, "finish_store", once)
        prepare(str(tmp_path / "store"), [medi(tmp_path, rows())])
    assert list(tmp_path.glob("store/.sorting-medi/*.run")), "the runs of the other parts are still needed"
    store = prepare(str(tmp_path / "store"), [medi(tmp_path, rows())], held_out_share=0)
    assert {source.name: source.rows for source in store.manifest.sources} == {
        f"medi.{k}": 40 for k in range(3)
    }


def test_names_are_those_of_the_values_and_never_shared(ray_local, tmp_path):
    assert group_name("berri", "nq") == "berri.nq"
    long = group_name("berri", "Find a passage: 'x'")
    assert long.startswith("berri.find-a-passage-x-") and long != group_name("berri", "Find a passage 'x'")
    taken = SourceSpec("medi.1", str(write_lines(tmp_path / "o.jsonl", [["a", "b"], ["c", "d"]])), "others")
    with pytest.raises(UsageError, match=r"split_by gives a source medi\.1, which there is already"):
        prepare(str(tmp_path / "store"), [medi(tmp_path, rows()), taken])


def test_a_source_without_a_value_is_told_with_its_rows(ray_local, tmp_path):
    without = [{**row, "task_id": None} for row in rows(tasks=1, each=2)]
    with pytest.raises(RunError) as caught:
        prepare(str(tmp_path / "store"), [medi(tmp_path, without)])
    sentence, *lines = str(caught.value).split("\n")
    assert "none of 2 rows is a pair of texts (2 without a value to split by)" in sentence
    assert sentence.endswith("QUERY_COLUMN,DOCUMENT_COLUMN")
    assert [line.startswith('  without a value to split by: {"query": ') for line in lines] == [True, True]


def test_what_has_too_many_values_is_refused(ray_local, tmp_path):
    by_text = Reading(query="query[1]", document="pos[1]", split_by="query[1]")
    with pytest.raises(RunError, match=r"split_by 'query\[1\]' has more than 1,000 values"):
        prepare(str(tmp_path / "store"), [medi(tmp_path, rows(each=400), by_text)])


def test_it_needs_named_fields():
    with pytest.raises(UsageError, match="split_by is given, but not query and document"):
        Reading(split_by="task_id")
