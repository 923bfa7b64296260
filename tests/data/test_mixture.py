"""Shares of sources and of the parts of those that are split, from eq. 4 alone."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gte_ray.config import from_dict
from gte_ray.data.mixture import PlanSource, shares
from gte_ray.data.prepare_store import prepare
from gte_ray.data.step_plan import StepPlan
from gte_ray.data.store import open_store
from gte_ray.errors import RunError
from gte_ray.evaluation.lookup import read_corpus
from gte_ray.readers.reading import Reading
from gte_ray.readers.spec import SourceSpec
from gte_ray.recipes import recipe
from gte_ray.runs.plan import make_stream, plan_run, resolve_tokenizer
from tests.data.conftest import write_lines

# The parts of `web` are 10,000 pairs in all, as many as there are of `qa`.
SOURCES = [
    PlanSource("qa", 10_000),
    PlanSource("web.de", 900, "web"),
    PlanSource("web.en", 9_000, "web"),
    PlanSource("web.sw", 100, "web"),
]


def test_a_split_source_has_the_share_of_its_whole_and_its_parts_theirs_of_that():
    found = dict(zip((s.name for s in SOURCES), shares(SOURCES, 0.5, 0.3), strict=True))
    assert found["qa"] == pytest.approx(0.5)
    weights = {"web.de": 900**0.3, "web.en": 9_000**0.3, "web.sw": 100**0.3}
    for name, weight in weights.items():
        assert found[name] == pytest.approx(0.5 * weight / sum(weights.values()))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_without_an_exponent_of_its_own_each_part_counts_as_a_source(alpha):
    rows = np.array([source.rows for source in SOURCES], dtype=float)
    assert shares(SOURCES, alpha) == pytest.approx(rows**alpha / (rows**alpha).sum())
    plain = [replace(source, split_of="") for source in SOURCES]
    assert shares(plain, alpha, 0.3) == pytest.approx(shares(plain, alpha))
    assert shares(SOURCES, 1.0, 1.0) == pytest.approx(shares(SOURCES, 1.0))


def test_a_source_of_the_name_of_a_split_one_is_no_part_of_it():
    both = [PlanSource("web", 10_000), *SOURCES[1:]]
    assert shares(both, 0.5, 0.3) == pytest.approx(shares(SOURCES, 0.5, 0.3)[[0, 1, 2, 3]])


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_the_steps_follow_the_shares(alpha):
    plan = StepPlan(SOURCES, alpha=alpha, global_batch=2, seed=1, steps=20_000, split_alpha=0.3)
    assert plan.source_steps() / 20_000 == pytest.approx(shares(SOURCES, alpha, 0.3), abs=0.01)


TEXTS = {
    "en": "The weather on the coast is fine today and the boats number {} come home before night",
    "de": "Das Wetter an der Küste ist heute schön und die Boote Nummer {} kommen vor der Nacht nach Hause",
    "fr": "Le temps sur la côte est beau aujourd'hui et les bateaux numéro {} rentrent avant la nuit",
}


def test_a_source_is_split_by_language_and_trained_by_it(ray_local, tmp_path):
    counts = {"en": 60, "de": 30, "fr": 10}
    rows = [
        {"q": f"question {language} {i}", "d": TEXTS[language].format(i)}
        for language, count in counts.items()
        for i in range(count)
    ]
    reading = Reading(query="q", document="d", split_by="d|language")
    web = SourceSpec("web", str(write_lines(tmp_path / "web.jsonl", rows)), "web-page", reading)
    other = [[f"query {i}", f"document {i}"] for i in range(100)]
    qa = SourceSpec("qa", str(write_lines(tmp_path / "qa.jsonl", other)), "others")
    store = prepare(str(tmp_path / "store"), [web, qa], held_out_share=0)
    assert {info.name: info.rows for info in store.manifest.sources if info.split_of} == {
        f"web.{language}": count for language, count in counts.items()
    }
    config = recipe("tiny", store.uri)
    config = replace(
        config, data=replace(config.data, split_alpha=0.0), run=replace(config.run, output=str(tmp_path))
    )
    run = plan_run(config)
    assert dict(
        zip((s.name for s in run.plan.sources), run.plan.probabilities, strict=True)
    ) == pytest.approx({"qa": 1 / 2, "web.de": 1 / 6, "web.en": 1 / 6, "web.fr": 1 / 6})
    stream = make_stream(run, resolve_tokenizer(run))
    assert np.array_equal(stream.plan().source_steps(), run.plan.source_steps())
    # The name of the whole is that of all parts.
    opened = open_store(store.uri)
    of_web = plan_run(replace(config, data=replace(config.data, sources=("web",))))
    assert {source.name for source in of_web.plan.sources} == {"web.de", "web.en", "web.fr"}
    assert (
        replace(of_web, store=run.store).fingerprint == named(run, ["web.fr", "web.de", "web.en"]).fingerprint
    )
    assert named(run, ["qa"]).fingerprint == named(run, ["qa"], split_alpha=None).fingerprint  # of no effect
    assert (
        read_corpus(opened, ["web"], 200).documents
        == read_corpus(opened, ["web.de", "web.en", "web.fr"], 200).documents
    )
    assert [info.name for info in opened.chosen(["web.en", "web"])] == ["web.en", "web.de", "web.fr"]
    with pytest.raises(RunError, match="there is no source 'wiki'; there are web"):
        opened.chosen(["wiki"])


def named(run, sources: list[str], **data):
    """The same run on these sources."""
    return plan_run(replace(run.config, data=replace(run.config.data, sources=tuple(sources), **data)))


def test_which_sources_are_parts_of_one_makes_another_run(tiny_store, tmp_path):
    """Where their exponent is their own: the same pairs under the same names are drawn otherwise."""
    opened, stores = open_store(tiny_store), [tiny_store]
    for number, alone in enumerate(("small", "large")):  # the others are parts of one
        infos = [replace(i, split_of="" if i.name == alone else "both") for i in opened.manifest.sources]
        stores.append(str(tmp_path / f"store{number}"))
        shutil.copytree(tiny_store, stores[-1])
        manifest = replace(opened.manifest, sources=tuple(infos)).to_dict()
        Path(stores[-1], "manifest.json").write_text(json.dumps(manifest))
    runs = []
    for store in stores:
        for split_alpha in (None, 0.0):
            config = recipe("tiny", store)
            data = replace(config.data, split_alpha=split_alpha, max_length=20)
            runs.append(plan_run(replace(config, data=data, run=replace(config.run, output=str(tmp_path)))))
    plain, unsplit, parted, drawn, parted_too, drawn_too = (run.fingerprint for run in runs)
    assert plain == unsplit == parted == parted_too
    assert len({plain, drawn, drawn_too}) == 3
    assert [run.config.data.split_alpha for run in runs] == [None, None, None, 0.0, None, 0.0]
    assert not np.array_equal(runs[3].plan.probabilities, runs[5].plan.probabilities)


def test_the_exponent_makes_another_run():
    config = recipe("tiny", "store")
    saved = config.to_dict()
    del saved["data"]["split_alpha"]  # of an older version
    assert from_dict(saved) == config
    saved["data"]["split_alpha"] = 0.0
    assert from_dict(saved).fingerprint("s", "b") != config.fingerprint("s", "b")
