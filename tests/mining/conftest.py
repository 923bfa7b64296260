"""A store to mine and a model, and what a store has."""

from pathlib import Path

import pytest

from gte_ray.config import Config, ModelConfig, ObjectiveConfig, PairsConfig, TrainingConfig
from gte_ray.data.ids import Ids
from gte_ray.data.prepare_store import prepare
from gte_ray.data.store import Store
from gte_ray.exporting.card import ModelCard
from gte_ray.exporting.folder import export_model
from gte_ray.model.load import build_encoder
from gte_ray.readers.spec import SourceSpec
from tests.data.conftest import make_pairs, write_lines


@pytest.fixture(scope="module")
def store(ray_local, tmp_path_factory) -> Store:
    """Two sources with token ids; queries with two documents, and documents that are queries too."""
    folder = tmp_path_factory.mktemp("mining")
    pairs = [list(pair) for pair in make_pairs(150)]
    pairs += [[pairs[number][0], f"another {pairs[number][1]}"] for number in range(0, 150, 10)]
    pairs += [[f"question {number}", pairs[number][0]] for number in range(20)]
    given = {"query": "given query", "pos": ["given document"], "neg": ["given negative"]}
    one = write_lines(folder / "one.jsonl", [{"query": q, "pos": [d]} for q, d in pairs] + [given])
    two = write_lines(folder / "two.jsonl", [list(pair) for pair in make_pairs(30, seed=1)])
    specs = [SourceSpec("one", str(one), "others"), SourceSpec("two", str(two), "code")]
    return prepare(str(folder / "store"), specs, held_out_share=0.1, ids=Ids(vocabulary=300, max_length=24))


@pytest.fixture(scope="module")
def model(store, tmp_path_factory) -> str:
    """A model of random weights, exported as a run exports it."""
    tokenizer = store.load_tokenizer()
    shape = ModelConfig("scratch", hidden_size=16, layers=1, heads=2, intermediate_size=24)
    encoder = build_encoder(shape, tokenizer.vocab_size, tokenizer.pad_id, 24, seed=3)
    config = Config("tiny", PairsConfig("store", max_length=24), shape, ObjectiveConfig(),
                    TrainingConfig(steps=1, global_batch=2, learning_rate=1e-3))  # fmt: skip
    folder = str(tmp_path_factory.mktemp("model") / "model")
    export_model(encoder, tokenizer, folder, ModelCard("m", config, "0" * 16, "command", ()))
    return folder


def rows_of(store, source):
    info = store.source(source)
    columns = ["query", "document", "negatives", "negative_hashes", "negative_ids"]
    return store.read_rows(source, 0, info.rows, columns).to_pylist()


def file_bytes(store):
    return {
        part.path: Path(store.uri, part.path).read_bytes()
        for source in store.manifest.sources
        for part in (*source.parts, *source.held_out_parts)
    }
