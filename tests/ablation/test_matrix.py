"""The rows of every ablation, against what sections 5.1 to 5.5 of the paper say was varied."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from gte_ray.ablation.command import load, names
from gte_ray.ablation.study import Comparison, Setting, baseline
from gte_ray.ablation.trials import plan_trials, to_run
from gte_ray.cli.flags import WARM_MODEL
from gte_ray.errors import UsageError
from gte_ray.recipes.paper import gte_base

FOLDER = Path(__file__).parents[2] / "ablations"
ALL = [
    "alpha",
    "batch_size",
    "datasets",
    "dropout",
    "duplicates",
    "loss",
    "margin",
    "matryoshka",
    "model_size",
    "prompts",
    "stages",
    "steps",
    "temperature",
]
SUPERVISED = {
    "msmarco": 500_000,
    "nq": 60_000,
    "nli": 280_000,
    "medi-a": 900_000,
    "medi-b": 500_000,
    "berri": 760_000,
}
PAPER = Setting("paper", {f"s{i:02}": 1_000 * (33 - i) for i in range(33)}, "hard", SUPERVISED)
LAPTOP_SOURCES = {f"s{i}": 100 * (9 - i) for i in range(9)}
LAPTOP = Setting("laptop", LAPTOP_SOURCES, "hard", LAPTOP_SOURCES)
SECOND = {
    "store": "hard", "alpha": 1.0, "group_size": 16, "max_length": 512, "steps": 23_438, "global_batch": 128,
    "learning_rate": 2e-5,
}  # fmt: skip
"""What fine-tuning changes: section 3.4; one epoch of three million pairs."""
HARDWARE = ("hardware", "run")

EXPECTED = {
    "alpha": [("0", {"alpha": 0.0}, 55.4), ("0.3", {"alpha": 0.3}, 58.9), ("0.5", {}, 59.0), ("1", {"alpha": 1.0}, 58.3)],
    "batch_size": [
        ("1,024", {"global_batch": 1_024}, None),
        ("2,048", {"global_batch": 2_048}, None),
        ("4,096", {"global_batch": 4_096}, None),
        ("8,192", {"global_batch": 8_192}, None),
        ("16,384", {}, 59.0),
        ("32,768", {"global_batch": 32_768}, None),
    ],
    "dropout": [
        ("none", SECOND, None),
        ("hidden", SECOND | {"hidden_dropout": 0.1}, None),
        ("attention", SECOND | {"attention_dropout": 0.1}, None),
        ("both", SECOND | {"hidden_dropout": 0.1, "attention_dropout": 0.1}, None),
    ],
    "duplicates": [("off", {"mask_duplicates": False}, None), ("on", {}, None)],
    "loss": [
        ("vanilla", {"directions": ("q2d",), "steps": 30_000}, 57.3),
        ("q→d + d→q", {"directions": ("q2d", "d2q"), "steps": 30_000}, None),
        ("+ q→q", {"directions": ("q2d", "d2q", "q2q"), "steps": 30_000}, None),
        ("improved", {"steps": 30_000}, 57.8),
        ("vanilla, fine-tuning", SECOND | {"directions": ("q2d",)}, 61.8),
        ("improved, fine-tuning", SECOND, 62.4),
    ],
    "margin": [
        ("none", {}, None), *((name, {"false_negative_margin": float(name)}, None) for name in ("0.2", "0.1", "0.01")),
    ],
    "matryoshka": [
        ("whole", {}, None), ("1, 1/2", {"dimensions": (768, 384)}, None),
        ("1, 1/2, 1/4, 1/8", {"dimensions": (768, 384, 192, 96)}, None),
    ],
    "prompts": [
        ("none", {}, None), ("query alone", {"prompt_query": "query: "}, None),
        ("both", {"prompt_query": "query: ", "prompt_document": "passage: "}, None),
    ],
    "stages": [("PT", {}, 59.0), ("FT", SECOND, 57.8), ("Full", SECOND, 62.4)],
    "model_size": [
        (
            "small",
            {
                "base": "microsoft/MiniLM-L12-H384-uncased", "hidden_size": 384, "intermediate_size": 1_536,
                "learning_rate": 3e-4, "recipe": "gte-small",
            },
            None,
        ),
        ("base", {}, 59.0),
        (
            "large",
            {
                "base": "google-bert/bert-large-uncased", "hidden_size": 1_024, "layers": 24, "heads": 16,
                "intermediate_size": 4_096, "learning_rate": 5e-5, "recipe": "gte-large",
            },
            None,
        ),
    ],
    "steps": [
        ("10,000", {}, 56.4), ("20,000", {}, 59.0), ("30,000", {}, 57.8), ("40,000", {}, 57.7), ("50,000", {}, 59.0),
    ],
    "temperature": [
        ("0.005", {"temperature": 0.005}, None), ("0.01", {}, None), ("0.02", {"temperature": 0.02}, None),
        ("0.05", {"temperature": 0.05}, None),
    ],
}  # fmt: skip
"""Rows of the paper profile: name, fields that differ from the recipe gte-base, score in the paper."""


def flat(config):
    parts = asdict(config)
    sections = [part for name, part in parts.items() if isinstance(part, dict) and name not in HARDWARE]
    found = {name: value for part in sections for name, value in part.items()}
    return found | {"recipe": config.recipe, "seed": config.seed}


def test_the_folder_holds_the_ablations_that_are_known():
    assert names(FOLDER) == ALL


@pytest.mark.parametrize("name", EXPECTED)
def test_the_paper_profile_is_the_papers_matrix(name):
    _, ablation = load(name, FOLDER)
    recipe = flat(gte_base("store"))
    found = []
    for row in ablation.rows(baseline("paper", "store"), PAPER):
        changed = {key: value for key, value in flat(row.config).items() if value != recipe[key]}
        found.append((row.name, changed, row.paper))
    assert found == EXPECTED[name]


def test_figure_3a_takes_the_largest_then_ten_more_then_all():
    _, ablation = load("datasets", FOLDER)
    few, more, whole = ablation.rows(baseline("paper", "store"), PAPER)[:3]
    largest = [f"s{i:02}" for i in range(5)]
    assert list(few.config.data.sources) == largest
    assert list(more.config.data.sources[:5]) == largest
    assert len(set(more.config.data.sources)) == 15
    assert whole.config == baseline("paper", "store")
    assert [row.x for row in (few, more, whole)] == [5, 15, 33]
    assert [row.x for row in ablation.rows(baseline("laptop", "store"), LAPTOP)[:3]] == [1, 4, 9]


def test_figure_3a_finetunes_on_e5s_three_then_medi_then_all():
    _, ablation = load("datasets", FOLDER)
    base = baseline("paper", "store")
    few, more, whole = ablation.rows(base, PAPER)[3:]
    assert set(few.config.data.sources) == {"msmarco", "nq", "nli"}
    assert set(more.config.data.sources) == {"msmarco", "nq", "nli", "medi-a", "medi-b"}
    assert whole.config.data.sources == ()
    assert [row.config.training.steps for row in (few, more, whole)] == [6_562, 17_500, 23_438]
    assert [row.paper for row in (few, more, whole)] == [None, None, 62.4]
    assert all(row.first == base for row in (few, more, whole))
    laptop = ablation.rows(baseline("laptop", "store"), LAPTOP)[3:]
    assert [len(row.config.data.sources) for row in laptop] == [2, 4, 0]
    assert [row.x for row in laptop] == [2, 4, 9]


@pytest.mark.parametrize(
    "names", [("msmarco", "nq", "nli"), ("nq",), ("msmarco", "medi"), ("medi-berri", "nli")]
)
def test_figure_3a_has_each_source_once(names):
    """Whatever of the paper's names a store has, and however large those are."""
    _, ablation = load("datasets", FOLDER)
    sizes = {f"other{i}": 1_000 * (10 - i) for i in range(8)} | dict.fromkeys(names, 10)
    for row in ablation.rows(baseline("paper", "store"), replace(PAPER, finetuning_sources=sizes))[3:]:
        sources = row.config.data.sources
        assert len(set(sources)) == len(sources)
        assert row.x == len(sources or sizes)


def test_the_second_stage_waits_for_the_first_which_rows_share(tiny_store):
    _, ablation = load("stages", FOLDER)
    setting = replace(LAPTOP, finetuning_store=tiny_store)
    trials = plan_trials(ablation.rows(baseline("laptop", tiny_store), setting), seeds=2)
    assert [trial.label for trial in trials[:3]] == ["PT, seed 42", "FT, seed 42", "Full, seed 42"]
    pretrained, alone, full = trials[:3]
    assert (pretrained.first, alone.first, full.first.fingerprint) == (None, None, pretrained.fingerprint)
    assert full.run.config.model.base == pretrained.run.model_folder
    assert len(trials) == len({trial.fingerprint for trial in trials}) == 6
    assert to_run(trials) == trials
    assert [trial.label for trial in to_run([full])] == ["Full, seed 42, first stage", "Full, seed 42"]


def test_finetuning_without_a_store_for_it_is_refused():
    for name in ("stages", "loss", "datasets", "dropout"):
        with pytest.raises(UsageError, match="needs --finetuning-store"):
            load(name, FOLDER)[1].rows(baseline("paper", "store"), replace(PAPER, finetuning_store=""))


def test_table_8_is_one_run_scored_at_five_steps(tiny_store):
    _, ablation = load("steps", FOLDER)
    rows = ablation.rows(baseline("laptop", tiny_store), LAPTOP)
    trials = plan_trials(rows, seeds=1)
    assert to_run(trials) == trials[:1]
    assert [trial.step for trial in trials] == [20, 40, 60, 80, 100]
    assert {trial.fingerprint for trial in trials} == {trials[0].run.fingerprint}


PROFILES = {"laptop": LAPTOP, "warm": replace(LAPTOP, profile="warm"), "paper": PAPER}


def test_a_warm_start_has_the_rows_of_both_starts():
    base = baseline("warm", "store")
    rows = {row.name: row for row in load("loss", FOLDER)[1].rows(base, PROFILES["warm"])}
    assert rows["vanilla"].config.model.base == rows["improved"].config.model.base == WARM_MODEL
    for name in ("vanilla", "improved"):
        cold = rows[f"{name}, from random weights"].config
        assert cold.model.base == "scratch"
        assert replace(cold, model=rows[name].config.model) == rows[name].config
        assert rows[f"{name}, fine-tuning"].first == base
    assert [name for name in ALL if "warm" not in load(name, FOLDER)[1].profiles] == ["model_size"]


@pytest.mark.parametrize("profile", PROFILES)
def test_all_ablations_share_the_baseline(profile):
    base = baseline(profile, "store")
    setting = PROFILES[profile]
    for name in ALL:
        if profile not in load(name, FOLDER)[1].profiles:
            continue
        rows = load(name, FOLDER)[1].rows(base, setting)
        shared = [row for row in rows if flat(row.config) == flat(base)]
        pretraining = [row for row in rows if row.config.data.store == base.data.store]
        assert len({row.config.training.steps for row in pretraining}) <= 1
        assert {row.first for row in rows} <= {None, base}
        goes_on = all(row.first == base for row in rows)  # from its run
        assert pretraining or goes_on
        assert shared or goes_on or (name == "loss" and profile == "paper")


@pytest.mark.parametrize("name", ALL)
def test_claims_speak_of_rows_that_are_there(name):
    _, ablation = load(name, FOLDER)
    for profile, setting in (("laptop", LAPTOP), ("paper", PAPER)):
        rows = [row.name for row in ablation.rows(baseline(profile, "store"), setting)]
        assert len(set(rows)) == len(rows)
        compared = ablation.comparisons(rows)
        assert compared
        assert {name for c in compared for name in (c.row, c.other)} <= set(rows)


def test_seeds_count_up_and_repeat_every_row(tiny_store):
    _, ablation = load("alpha", FOLDER)
    trials = plan_trials(ablation.rows(baseline("laptop", tiny_store), LAPTOP), seeds=3)
    assert len(to_run(trials)) == len(trials) == 12
    assert [trial.seed for trial in trials] == [42] * 4 + [43] * 4 + [44] * 4
    assert [trial.label for trial in trials[3:5]] == ["1, seed 42", "0, seed 43"]


def test_unknown_profile():
    with pytest.raises(UsageError, match="--profile is 'desk'; allowed are laptop, warm, paper"):
        baseline("desk", "store")


def test_ablation_files_are_short():
    for name in ALL:
        assert len((FOLDER / f"{name}.py").read_text().splitlines()) < 80


def test_the_readmes_own_ablation_is_one(tmp_path):
    readme = (FOLDER.parent / "README.md").read_text()
    (code,) = [block.split("```")[0] for block in readme.split("```python\n")[1:]]
    assert len(code.splitlines()) <= 15
    (tmp_path / "warmup.py").write_text(code)
    name, ablation = load(str(tmp_path / "warmup.py"), FOLDER)
    rows = ablation.rows(baseline("laptop", "store"), LAPTOP)
    assert (name, [row.config.training.warmup for row in rows]) == ("warmup", [0.0, 0.05, 0.2])


def test_a_larger_batch_is_claimed_to_help_up_to_ten_thousand():
    found = load("batch_size", FOLDER)[1].comparisons(["4,096", "8,192", "16,384", "32,768"])
    assert found == [
        Comparison("8,192", "4,096", "better than"),
        Comparison("32,768", "16,384", "no better than"),
    ]
