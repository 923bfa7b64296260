"""CodeSearchNet and SST-2 as the paper has them, against the same by hand."""

import random

import datasets
import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from gte_ray.evaluation.mteb import codesearch
from gte_ray.evaluation.mteb.benchmarks import Benchmark
from gte_ray.evaluation.mteb.codesearch import CodeSearch
from gte_ray.evaluation.mteb.sentiment import SentimentByLabels
from tests.evaluation.mteb.conftest import MINILM


def write_split(folder, split, rows):
    """Rows of a split, in the layout of a data set of the hub with one configuration."""
    (folder / "python").mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(rows).to_json(folder / f"python/{split}.jsonl")
    splits = "".join(
        f"  - {{split: {path.stem}, path: python/{path.name}}}\n"
        for path in sorted((folder / "python").iterdir())
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: python\n  data_files:\n{splits}---\n")


def test_code_search_has_all_functions_or_a_thousand_as_candidates(run, tmp_path, monkeypatch):
    rows = {
        split: [
            {
                "func_documentation_string": f"{word} the {split} value",
                "func_code_string": f"def {word}_{split}(): pass",
            }
            for word in words.split()
        ]
        for split, words in (("test", "load save parse"), ("validation", "open close"))
    }
    for split, found in rows.items():
        write_split(tmp_path / "code", split, found)
    names = {"docstring": "func_documentation_string", "code": "func_code_string"}
    filtered = [{name: row[old] for name, old in names.items()} for row in rows["test"][:2]]
    write_split(tmp_path / "filtered", "test", filtered)
    folders = str(tmp_path / "code"), str(tmp_path / "filtered")
    monkeypatch.setattr(codesearch, "FEW_CODES", 2)
    results, _ = run(
        Benchmark("local", tuple(CodeSearch("python", setting, *folders) for setting in ("all", "1k")))
    )
    theirs = SentenceTransformer(MINILM, device="cpu")

    def expected(pairs, others=()):
        codes = [row["func_code_string"] for row in [*pairs, *others]]
        scores = theirs.encode([row["func_documentation_string"] for row in pairs]) @ theirs.encode(codes).T
        return np.mean([1 / (1 + (scores[i] > scores[i, i]).sum()) for i in range(len(pairs))])

    whole, few = (results[MINILM, f"CodeSearchNet-{name}-python"] for name in ("all", "1k"))
    # Two docstrings pass the filter; candidates are all functions.
    others = rows["test"][2:] + rows["validation"]
    assert whole.scores == {"main": pytest.approx(expected(rows["test"][:2], others))}
    draws = [expected(random.Random(seed).sample(rows["test"], 2)) for seed in range(5)]
    assert few.scores == {
        "main": pytest.approx(np.mean(draws)), "spread": pytest.approx(np.std(draws, ddof=1)),
    }  # fmt: skip
    assert [np.mean(list(draw.values())) for draw in few.queries.values()] == pytest.approx(draws)


def test_sentiment_is_the_closest_label(run, tmp_path):
    rows = [
        {"sentence": text, "label": label}
        for text, label in (("a wonderful film", 1), ("dull and far too long", 0), ("i loved it", 1), ("awful", 0),
                            ("not bad at all", 1))
    ]  # fmt: skip
    path = tmp_path / "sst2"
    path.mkdir()
    datasets.Dataset.from_list(rows).to_json(path / "validation.jsonl")
    kinds = tuple(SentimentByLabels(kind, str(path)) for kind in ("plain", "prompted"))
    results, _ = run(Benchmark("local", kinds))
    theirs = SentenceTransformer(MINILM, device="cpu")
    sentences = theirs.encode([row["sentence"] for row in rows])
    for kind, texts in (("plain", ["negative", "positive"]),
                        ("prompted", [f"this is an example of {x} movie review" for x in ("negative", "positive")])):  # fmt: skip
        right = (sentences @ theirs.encode(texts).T).argmax(1) == [row["label"] for row in rows]
        assert results[MINILM, f"SST2-{kind}"].scores["main"] == pytest.approx(right.mean())
