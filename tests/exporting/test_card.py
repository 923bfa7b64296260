"""The header of the model card, as huggingface_hub reads it back."""

from dataclasses import replace

import pytest
from huggingface_hub import ModelCard as HubCard

from gte_ray.config import Config, ModelConfig, ObjectiveConfig, PairsConfig, TrainingConfig
from gte_ray.evaluation.heldout import SourceScores
from gte_ray.evaluation.scores import Scores
from gte_ray.exporting.card import CardSource, Exported, ModelCard, render
from gte_ray.pretrained.prompts import Prompts

ODD = [
    "a \"quoted\" and 'single' name",
    "key: value # no comment",
    "---",
    "--- a --- b",
    "- dash, [list], {map}, *alias, &anchor, !tag, %, @, `",
    "nDCG ünïcode 漢字 😀",
    "0123",
    "true",
    "null",
    "1e3",
    "a long name " * 30 + "end",
    "two\nlines\n---\nand more",
    " tabs\tand a trailing space ",
]
EXPORTED = Exported(32, "BertModel", True, "mean", Prompts())


def scores(source: str, value: float) -> SourceScores:
    return SourceScores(
        source=source,
        queries=7,
        documents=9,
        ndcg_at_10=value,
        mrr_at_10=0.4,
        recall_at_1=0.3,
        recall_at_10=1.0,
    )


def card(name: str = "tiny-0123", base: str = "scratch", rows: tuple[SourceScores, ...] = ()) -> ModelCard:
    config = Config(
        recipe="tiny",
        data=PairsConfig("store"),
        model=ModelConfig(base),
        objective=ObjectiveConfig(),
        training=TrainingConfig(steps=5, global_batch=4, learning_rate=1e-3),
    )
    sources = tuple(CardSource(row.source, "others", 12, 0.5) for row in rows)
    return ModelCard(name, config, "0123", "command", sources, Scores(rows, rows, rows) if rows else None)


def read_back(card: ModelCard, folder) -> HubCard:
    path = folder / "README.md"
    path.write_bytes(render(card, EXPORTED).encode())
    return HubCard.load(path)


def test_the_header_says_what_the_folder_is_and_nothing_that_is_not_known(tmp_path):
    data = read_back(card(), tmp_path).data
    assert data.to_dict() == {
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": ["sentence-transformers", "feature-extraction", "sentence-similarity", "gte_ray"],
    }


@pytest.mark.parametrize(
    ("base", "named"),
    [("org/base-model", True), ("scratch", False), ("/models/base", False), ("./base", False), ("base", False),
     ("s3://bucket/base", False), ("org/odd: \"name\" #1 ---", True)],
)  # fmt: skip
def test_a_base_that_the_hub_has_is_named(base, named, tmp_path):
    assert read_back(card(base=base), tmp_path).data.base_model == (base if named else None)


def test_the_held_out_scores_are_one_entry_for_each_source(tmp_path):
    data = read_back(card(rows=(scores("docs", 0.76543210), scores("web", 0.5))), tmp_path).data
    (model,) = data.to_dict()["model-index"]
    assert model["name"] == "tiny-0123"
    first, second = model["results"]
    assert first["task"] == {"type": "information-retrieval", "name": "Information Retrieval"}
    assert first["dataset"]["name"] == "held-out pairs of the training source docs"
    assert first["dataset"]["type"] == "held-out-pairs"
    assert second["dataset"]["config"] == "web"
    assert {metric["type"]: metric["value"] for metric in first["metrics"]} == {
        "ndcg_at_10": 0.7654, "mrr_at_10": 0.4, "recall_at_1": 0.3, "recall_at_10": 1.0,
    }  # fmt: skip
    assert [metric["name"] for metric in second["metrics"]] == ["nDCG@10", "MRR@10", "recall@1", "recall@10"]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_read_back_as_they_are(name, tmp_path):
    plain = card(name, rows=(scores(name, 0.5), scores("other", 0.25)))
    found = read_back(plain, tmp_path)
    assert found.data.model_name == name
    assert [result.dataset_config for result in found.data.eval_results] == [name] * 4 + ["other"] * 4
    assert found.text.lstrip().startswith("# ")  # nothing of the header is left in the text
    assert found.data.to_dict() == HubCard(str(found)).data.to_dict()


def test_a_model_that_is_not_scored_yet_has_no_scores(tmp_path):
    unscored = replace(card(rows=(scores("docs", 0.5),)), scores=Scores((), (), ()))
    assert read_back(unscored, tmp_path).data.eval_results is None
