"""What a run's folder says of it, and what is done to a folder that is another's."""

import json
import shutil
from dataclasses import replace

import pytest

from gte_ray.config import validate
from gte_ray.errors import RunError, UsageError
from gte_ray.recipes.paper import tiny
from gte_ray.runs.plan import plan_run, warnings
from gte_ray.runs.results import read_results
from gte_ray.runs.run_folder import open_run, public, run_key

SECRET = "https://user:pw@mlflow.example"


@pytest.fixture
def run(tiny_store, tmp_path):
    config = tiny(tiny_store)
    place = replace(config.run, output=str(tmp_path), name="run", tracking_uri=SECRET)
    return plan_run(replace(config, run=place))


def test_no_password_is_in_what_others_see(run, tmp_path):
    open_run(run, fresh=False)
    recorded = (tmp_path / "run/config.json").read_text()
    assert "pw" not in recorded and "https://***@mlflow.example" in recorded
    assert public(run.config).training == run.config.training
    assert public(run.config).run == replace(run.config.run, tracking_uri="https://***@mlflow.example")


def test_a_fresh_start_deletes_the_folder_of_a_run(run, tmp_path):
    open_run(run, fresh=False)
    key = run_key(run)
    (tmp_path / "run/history.jsonl").write_text("")
    open_run(run, fresh=False)
    assert run_key(run) == key
    open_run(run, fresh=True)
    assert run_key(run) != key
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]


def test_a_finished_run_keeps_the_config_that_it_was_finished_with(run, tmp_path):
    open_run(run, fresh=False)
    config = tmp_path / "run/config.json"
    before = config.read_bytes()
    other = replace(run, config=replace(run.config, run=replace(run.config.run, eval_limit=7)))
    (tmp_path / "run/results.json").write_text("{}")
    open_run(other, fresh=False)
    assert config.read_bytes() == before
    (tmp_path / "run/results.json").unlink()
    open_run(other, fresh=False)
    assert json.loads(config.read_text())["config"]["run"]["eval_limit"] == 7


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"scores": 3}', '{"scores": {"before": [], "after": [], "bm25": []}}']
)
def test_damaged_results_are_one_sentence(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(
        RunError, match=r"results.json: is damaged \(.+\); once it is deleted, the run's command scores"
    ):
        read_results(str(tmp_path))


@pytest.mark.parametrize("file", ["manifest.json", "config.json"])
def test_what_is_no_runs_folder_is_not_deleted(run, tmp_path, file):
    """A model's folder has a config.json too."""
    path = tmp_path / "run" / file
    path.parent.mkdir()
    path.write_text(json.dumps({"hidden_size": 3}))
    with pytest.raises(UsageError, match=r"/run(/config.json)? is .*; give another --name or --output"):
        open_run(run, fresh=True)
    if file == "config.json":
        with pytest.raises(UsageError, match=r"/run/config.json is not that of a run"):
            open_run(run, fresh=False)
    assert json.loads(path.read_text()) == {"hidden_size": 3}


def test_distilling_a_store_without_scores_is_refused_and_a_part_of_them_told(tiny_store, tmp_path):
    config = tiny(tiny_store)
    config = replace(
        config,
        data=replace(config.data, group_size=2),
        objective=replace(config.objective, teacher_weight=0.5),
        run=replace(config.run, output=str(tmp_path), name="run"),
    )
    with pytest.raises(
        RunError, match=r"--teacher-weight is 0.5, but no source has scores of a teacher; `python -m"
    ):
        plan_run(config)
    shutil.copytree(tiny_store, tmp_path / "store")
    manifest = tmp_path / "store/manifest.json"
    content = json.loads(manifest.read_text())
    first, *others = content["sources"]
    first["teacher"] = "reranker"
    manifest.write_text(json.dumps(content))
    told = warnings(plan_run(replace(config, data=replace(config.data, store=str(tmp_path / "store")))))
    names = ", ".join(source["name"] for source in others)
    assert f"sources without scores of a teacher, which only the contrastive loss is for: {names}" in told


@pytest.mark.parametrize("name", [".", "..", "a/b"])
def test_a_name_is_that_of_a_folder_in_the_output(name):
    config = tiny("store")
    with pytest.raises(UsageError, match=rf"--name is {name!r}; allowed is"):
        validate(replace(config, run=replace(config.run, name=name)))


def test_other_weights_are_told_from_other_settings(run, tmp_path):
    open_run(run, fresh=False)
    with pytest.raises(
        UsageError, match=r"other settings \(the store's pairs or tokenizer, the weights of the base model"
    ):
        open_run(replace(run, fingerprint="0" * 16), fresh=False)
    path = tmp_path / "run/config.json"
    recorded = json.loads(path.read_text())
    recorded["config"]["data"]["alpha"] = -1
    changed = replace(run.config, seed=7)
    with pytest.raises(UsageError, match=r"other settings \(seed 42 -> 7\)"):
        open_run(replace(run, config=changed, fingerprint="0" * 16), fresh=False)
    path.write_text(json.dumps(recorded))
    with pytest.raises(UsageError, match=r"other settings \(its config.json has --alpha is -1; allowed is"):
        open_run(replace(run, fingerprint="0" * 16), fresh=False)


@pytest.mark.parametrize("has", [True, False])
def test_a_format_that_the_processor_has_not_is_told(run, has, monkeypatch):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx2": True, "avx512_bf16": has})
    config = validate(replace(run.config, training=replace(run.config.training, precision="bf16")))
    told = [line for line in warnings(replace(run, config=config)) if "bf16" in line]
    assert told == (
        []
        if has
        else ["--precision bf16: this processor has no such numbers, so that it is slower than with fp32"]
    )
    assert not [line for line in warnings(run) if "bf16" in line]


@pytest.mark.parametrize("absolute", [False, True])
def test_a_job_that_writes_into_its_own_folder_is_told(run, tmp_path, monkeypatch, absolute):
    folder = tmp_path / "_ray_pkg_0123"
    folder.mkdir()
    monkeypatch.chdir(folder)
    place = {} if absolute else {"output": "runs", "tracking_uri": "sqlite:///mlflow.db"}
    found = warnings(plan_run(replace(run.config, run=replace(run.config.run, **place))))
    told = [text for text in found if "give an absolute --output and --tracking-uri" in text]
    assert len(told) == (not absolute)
