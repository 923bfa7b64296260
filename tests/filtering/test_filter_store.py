"""Which pairs leave a store, told from the pairs alone, and that a cut-off command goes on."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from gte_ray.data import rewrite
from gte_ray.data.ids import Ids
from gte_ray.data.prepare_store import prepare
from gte_ray.data.store import Store, open_store
from gte_ray.data.verify import verify
from gte_ray.errors import RunError, UsageError
from gte_ray.filtering import filter_store as module
from gte_ray.filtering import unique
from gte_ray.filtering.filter_store import filter_store
from gte_ray.filtering.rules import Rules
from gte_ray.mining import pairs as numbering
from gte_ray.mining import run_search, search, task
from gte_ray.readers.spec import SourceSpec
from gte_ray.retrieval.bm25 import Bm25
from gte_ray.runtime.pool import Pool
from tests.data.conftest import make_pairs, write_lines
from tests.in_process import run_here

NAMES = ("one", "two", "three")


@pytest.fixture(scope="module")
def store(ray_local, tmp_path_factory) -> Store:
    """Three sources that share pairs, each with a share of its own held out; with negatives and token ids."""
    folder = tmp_path_factory.mktemp("filtering")
    pairs = [list(pair) for pair in make_pairs(400)]
    pairs += [[pairs[number][0], f"another {pairs[number][1]}"] for number in range(0, 400, 10)]
    given = {"query": "given query", "pos": ["given document"], "neg": ["given negative"]}
    rows = {"one": pairs[:250], "two": pairs[100:], "three": [*pairs[200:260], *make_pairs(80, seed=1)]}
    specs = []
    for name in NAMES:
        lines = [{"query": q, "pos": [d]} for q, d in rows[name]] + [given]
        specs.append(SourceSpec(name, str(write_lines(folder / f"{name}.jsonl", lines)), "others"))
    ids = Ids(vocabulary=300, max_length=24)
    return prepare(str(folder / "store"), specs, held_out_share=0.3, held_out_rows=60, ids=ids)


@pytest.fixture(autouse=True)
def here(monkeypatch):
    run_here(monkeypatch, numbering, rewrite, run_search, unique)


def left(store, out, rules, **settings):
    return filter_store(store, str(out), rules, Pool(), **settings)


COLUMNS = ["query", "document", "negatives", "negative_hashes", "query_ids", "document_ids"]


def rows_of(store, source, held_out=False, columns=COLUMNS):
    info = store.source(source)
    if held_out:
        return store.read_held_out(source, info.held_out).to_pylist()
    return store.read_rows(source, 0, info.rows, columns).to_pylist()


def pairs_of(store, source, held_out=False):
    rows = rows_of(store, source, True) if held_out else rows_of(store, source, columns=["query", "document"])
    return [(row["query"], row["document"]) for row in rows]


def file_bytes(store):
    return {path.relative_to(store.uri): path.read_bytes() for path in Path(store.uri).rglob("*.parquet")}


@pytest.mark.parametrize(
    ("small", "order"), [(False, NAMES), (True, ("three", "one", "two"))], ids=["one range", "many ranges"]
)
def test_a_pair_of_several_sources_stays_in_the_first(store, tmp_path, monkeypatch, small, order):
    if small:
        monkeypatch.setattr(unique, "RANGE_ROWS", 50)
        monkeypatch.setattr(unique, "PARTS_OF_TASK", 2)
    result = left(store, tmp_path / "out", Rules(unique=True, priority=order[:1] if small else ()))
    seen: set = set()
    held_out = {name: set(pairs_of(store, name, held_out=True)) for name in NAMES}
    for name in order:
        rows, aside = rows_of(store, name), set().union(*held_out.values())
        expected = [
            row for row in rows if (pair := (row["query"], row["document"])) not in seen and pair not in aside
        ]
        assert rows_of(result, name) == expected
        assert rows_of(result, name, held_out=True) == rows_of(store, name, held_out=True)
        own = {(row["query"], row["document"]) for row in rows}
        counted = {
            "held out in another source": len(own & aside),
            "in an earlier source": len(own & seen - aside),
        }
        dropped, before = result.source(name).dropped, store.source(name).dropped
        assert {reason: dropped.get(reason, 0) - before.get(reason, 0) for reason in counted} == counted
        assert result.source(name).rows == len(expected)
        documents = {document for _, document in held_out[name]}
        assert result.source(name).shared_documents == sum(row["document"] in documents for row in expected)
        seen |= own
    assert sum(result.source(name).dropped.get("held out in another source", 0) for name in NAMES)
    assert verify(result, lambda *_: None).pairs == sum(
        info.rows + info.held_out for info in result.manifest.sources
    )
    assert [info.name for info in result.manifest.sources] == list(NAMES)


@pytest.mark.parametrize("sample", [1_000, 70])
def test_a_pair_is_consistent_if_its_document_is_among_the_first(store, tmp_path, monkeypatch, sample):
    for constants in (search, task, run_search):
        monkeypatch.setattr(constants, "BLOCK_TEXTS", 32)
    result = left(store, tmp_path / "out", Rules(model="bm25", among_first=3, sample=sample))
    for name in NAMES:
        rows, expected = rows_of(store, name), []
        pieces = -(-len(rows) // sample)
        for number in range(pieces):
            piece = rows[len(rows) * number // pieces : len(rows) * (number + 1) // pieces]
            documents = list(dict.fromkeys(row["document"] for row in piece))
            index = Bm25(documents)
            positives: dict = {}
            for row in piece:
                positives.setdefault(row["query"], set()).add(row["document"])
            for row in piece:
                scores = dict(zip(documents, index.scores([row["query"]])[0], strict=True))
                own = scores[row["document"]]
                others = positives[row["query"]] | {row["query"]}
                closer = sum(
                    score > own for text, score in scores.items() if score > 0 and text not in others
                )
                if closer < 3 and own > 0:
                    expected.append(row)
        assert rows_of(result, name) == expected
        assert 0 < len(expected) < len(rows)
        assert result.source(name).dropped["inconsistent"] == len(rows) - len(expected)


def test_what_loses_nothing_is_the_same_store(store, tmp_path):
    once = left(store, tmp_path / "once", Rules(unique=True))
    result = left(once, tmp_path / "out", Rules(unique=True))
    assert result.fingerprint == once.fingerprint != store.fingerprint
    assert [info.shared_documents for info in result.manifest.sources] == [
        info.shared_documents for info in once.manifest.sources
    ]
    assert result.load_tokenizer().fingerprint == store.load_tokenizer().fingerprint


def test_sources_that_are_not_named_lose_nothing(store, tmp_path):
    rules = Rules(unique=True, model="bm25", among_first=1)
    some, whole = (
        left(store, tmp_path / "some", rules, sources=["two"]),
        left(store, tmp_path / "whole", rules),
    )
    for name in ("one", "three"):
        assert some.source(name).content == store.source(name).content != whole.source(name).content
    assert rows_of(some, "two") == rows_of(whole, "two")
    assert {"in an earlier source", "inconsistent"} <= whole.source("two").dropped.keys()


def test_a_cut_off_command_goes_on_where_it_was(store, tmp_path, monkeypatch):
    rules = Rules(unique=True, model="bm25")
    whole = left(store, tmp_path / "whole", rules)
    out, write = tmp_path / "out", rewrite.write_part

    def cut_off(job, **told):
        if job.source == "two":
            raise RunError("cut off")
        return write(job, **told)

    with monkeypatch.context() as patch, pytest.raises(RunError, match="cut off"):
        patch.setattr(rewrite, "write_part", cut_off)
        left(store, out, rules)
    assert not (out / "manifest.json").exists()
    phases: list[str] = []
    result = left(store, out, rules, report=lambda phase, done: phases.append(phase))
    assert set(phases) == {"looking at parts"} | {
        f"{work} {name}" for work in ("numbering", "writing") for name in ("two", "three")
    }
    assert file_bytes(result) == file_bytes(whole)
    assert open_store(str(out)).fingerprint == whole.fingerprint
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    phases.clear()
    left(store, out, rules, report=lambda phase, done: phases.append(phase))
    assert phases == []
    other = left(store, out, Rules(unique=True, model="bm25", among_first=1))
    assert other.fingerprint != whole.fingerprint


def test_a_pair_without_a_word_in_common_is_no_match_for_bm25(ray_local, tmp_path):
    pairs = [[f"stone{n}", f"stone{n} words"] for n in range(20)] + [["river", "nothing of it"]]
    path = write_lines(tmp_path / "x.jsonl", pairs)
    store = prepare(str(tmp_path / "store"), [SourceSpec("s", str(path), "others")], held_out_share=0)
    result = left(store, tmp_path / "out", Rules(model="bm25", among_first=10))
    assert sorted(pairs_of(result, "s")) == sorted(tuple(pair) for pair in pairs[:-1])


def test_sources_that_may_lose_pairs_lose_them_to_those_that_may_not(store, tmp_path):
    result = left(store, tmp_path / "out", Rules(unique=True), sources=["one"])
    others = {pair for name in ("two", "three") for pair in pairs_of(store, name)}
    assert result.source("two").content == store.source("two").content
    assert not others & set(pairs_of(result, "one")) and others & set(pairs_of(store, "one"))


def test_what_is_in_the_place_of_the_new_store_is_not_lost(store, tmp_path):
    copied = tmp_path / "copy"
    shutil.copytree(store.uri, copied)
    (tmp_path / "link").symlink_to(copied)
    for name in (tmp_path / "link", f"file://{copied}", f"{copied}/../copy"):
        with pytest.raises(UsageError, match="allowed is another place"):
            left(open_store(str(copied)), name, Rules(unique=True))
    mine = tmp_path / "out" / "one-mydata"
    mine.mkdir(parents=True)
    (mine / "kept").write_text("")
    left(store, tmp_path / "out", Rules(unique=True))
    assert (mine / "kept").exists()
    path = write_lines(tmp_path / "x.jsonl", [list(pair) for pair in make_pairs(50, seed=3)])
    other = str(tmp_path / "other")
    prepare(other, [SourceSpec("four", str(path), "others")], held_out_share=0.3, held_out_rows=60)
    with pytest.raises(UsageError, match="keeps four, whose token ids are of another tokenizer"):
        left(store, other, Rules(unique=True))


def test_a_source_that_is_prepared_again_has_all_its_pairs(store, tmp_path):
    lines = [list(pair) for pair in make_pairs(60)]
    path = write_lines(tmp_path / "x.jsonl", lines)
    specs = [SourceSpec(name, str(path), "others") for name in ("a", "b")]
    plain = prepare(str(tmp_path / "store"), specs, held_out_share=0)
    out = str(tmp_path / "out")
    assert left(plain, out, Rules(unique=True)).source("b").rows == 0
    assert prepare(out, specs[1:], held_out_share=0).source("b").rows == 60


def test_wrong_use_is_told_in_one_sentence(store, tmp_path):
    with pytest.raises(UsageError, match="allowed is another place"):
        left(store, store.uri, Rules(unique=True))
    with pytest.raises(RunError, match="there is no source 'four'; there are one, two, three"):
        left(store, tmp_path / "out", Rules(unique=True, priority=("four",)))
    with pytest.raises(UsageError, match="at least one of --unique, --near-duplicates and --consistent"):
        Rules()
    with pytest.raises(UsageError, match="--among-first is 0; allowed is at least 1"):
        Rules(model="bm25", among_first=0)
    with pytest.raises(UsageError, match="are of the model of --consistent"):
        Rules(unique=True, among_first=3)
    with pytest.raises(UsageError, match="--priority says"):
        Rules(model="bm25", priority=("one",))


def test_a_pair_far_from_its_query_leaves_by_the_vectors_of_a_model(store, tmp_path, monkeypatch):
    """Vectors that say it plainly: each text's first word is where it lies."""

    class Model:
        def queries(self, texts, budget):
            numbers = [
                int(np.frombuffer(text.split()[0].encode()[:4].ljust(4), np.uint8).sum()) for text in texts
            ]
            angles = np.array(numbers, np.float32)
            return np.stack([np.cos(angles), np.sin(angles)], axis=1)

        documents = queries

    monkeypatch.setattr(search, "load_model", lambda *_, **__: Model())
    monkeypatch.setattr(module, "identity", lambda model: model)
    result = left(store, tmp_path / "out", Rules(model="plain", among_first=5))
    embed = Model().queries
    for name in NAMES:
        rows = rows_of(store, name)
        documents = list(dict.fromkeys(row["document"] for row in rows))
        vectors, expected = embed(documents, 0), []
        for row in rows:
            scores = vectors @ embed([row["query"]], 0)[0]
            own = scores[documents.index(row["document"])]
            known = {other["document"] for other in rows if other["query"] == row["query"]} | {row["query"]}
            closer = sum(
                score > own + 1e-6 for text, score in zip(documents, scores, strict=True) if text not in known
            )
            if closer < 5:
                expected.append(row)
        assert rows_of(result, name) == expected
        assert 0 < len(expected) < len(rows)


def test_a_store_that_other_rules_made_is_told_to_be_written_again(store, tmp_path):
    told: list[str] = []
    for rules, times in ((Rules(unique=True), 0), (Rules(unique=True), 0), (Rules(near_duplicates=0.8), 1)):
        left(store, tmp_path / "out", rules, tell=told.append)
        assert len(told) == times
    assert told[0].endswith("out has one, two, three with other settings or of other pairs: written again")
