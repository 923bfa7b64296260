"""What `--dry-run` foresees, beside what the steps then have."""

from dataclasses import replace

import numpy as np
import pytest
from transformers import CLIPConfig

from gte_ray.data.prepare_store import prepare
from gte_ray.data.read import read_batch
from gte_ray.data.store import open_store
from gte_ray.errors import RunError
from gte_ray.model.backbone import load_backbone
from gte_ray.readers.spec import SourceSpec
from gte_ray.recipes.paper import tiny
from gte_ray.runs.forecast import forecast
from gte_ray.runs.plan import make_stream, plan_run, resolve_tokenizer
from gte_ray.runs.shape import loaded_shape
from tests.data.conftest import make_pairs, write_lines
from tests.model.folders import SIZES, bare_folder


def planned(store: str, max_length: int):
    config = tiny(store)
    config = replace(
        config,
        data=replace(config.data, max_length=max_length),
        training=replace(config.training, steps=30, global_batch=64),
    )
    return plan_run(config)


def test_lengths_are_those_of_the_ids_in_the_store(tiny_store):
    run = planned(tiny_store, 16)
    found = forecast(run.config, run.store, run.plan)
    stream = make_stream(run, resolve_tokenizer(run))
    batches = [read_batch(stream, run.store, run.plan[step]) for step in range(30)]
    tokens = sum(len(batch.queries.values) + len(batch.documents.values) for batch in batches)
    assert found.tokens == pytest.approx(tokens, rel=0.02)
    assert found.tokens_per_text == pytest.approx(tokens / (30 * 2 * 64), rel=0.02)
    assert found.lengths == "the store's token ids, 512 rows of each source"


@pytest.mark.processes
def test_without_ids_lengths_come_from_characters(ray_local, tmp_path):
    path = write_lines(tmp_path / "texts.jsonl", [list(pair) for pair in make_pairs(200)])
    store = open_store(prepare(str(tmp_path / "store"), [SourceSpec("texts", str(path), "others")]).uri)
    run = planned(store.uri, 128)
    found = forecast(run.config, run.store, run.plan)
    texts = store.read_rows("texts", 0, store.source("texts").rows, ["query", "document"])
    characters = np.array([len(text) for column in texts.columns for text in column.to_pylist()])
    assert found.tokens_per_text == pytest.approx((characters / 4.5 + 2).mean(), rel=0.02)
    assert found.lengths == "characters, 4.5 to a token as in English"


@pytest.mark.parametrize("kind", ["bert", "albert", "electra", "modernbert", "qwen3"])
def test_parameters_are_those_of_the_model_itself(kind, tmp_path):
    """With gated layers, fewer heads of keys, layers that share weights and narrow embeddings, whatever it is."""
    sizes = {**SIZES, "embedding_size": 8} if kind in ("albert", "electra") else SIZES
    folder = bare_folder(tmp_path / "bare", kind, **sizes)
    found, backbone = loaded_shape(folder), load_backbone(tmp_path / "bare", folder)
    table = backbone.get_input_embeddings().weight
    assert found.parameters == sum(p.numel() for p in backbone.parameters())
    assert found.layer_parameters == found.parameters - table.numel() > 0
    assert (found.hidden_size, found.vocab_size) == (backbone.config.hidden_size, len(table))


def test_what_is_no_text_encoder_has_no_forecast(tmp_path):
    CLIPConfig().save_pretrained(tmp_path)
    with pytest.raises(RunError, match="clip has no table of tokens"):
        loaded_shape(str(tmp_path))
    assert loaded_shape("nobody/nothing") is None
