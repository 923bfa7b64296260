"""Documents that are nearly the same as others: which leave, by the documents alone."""

import random
import sys

import pyarrow as pa
import pytest

from gte_ray.data import rewrite
from gte_ray.data.prepare_store import prepare
from gte_ray.data.store import Store
from gte_ray.errors import RunError, UsageError
from gte_ray.filtering import near, unique
from gte_ray.filtering.filter_store import filter_store
from gte_ray.filtering.near import signatures
from gte_ray.filtering.rules import Rules
from gte_ray.mining import pairs as numbering
from gte_ray.mining import run_search
from gte_ray.readers.spec import SourceSpec
from gte_ray.runtime.pool import Pool
from tests.data.conftest import write_lines
from tests.in_process import run_here

WORDS = [f"word{number}" for number in range(3_000)]
REASON = "near-duplicate document"


def text(seed: int, words: int = 60) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def changed(document: str, *places: int) -> str:
    words = document.split()
    for place in places:
        words[place] = "other"
    return " ".join(words)


PLAIN = [text(seed) for seed in range(40)]
COPIES = [f"  {changed(document, 0).upper()}!" for document in PLAIN[:10]]
"""55 of 57 runs of 5 words are the document's: 0.96 of all."""
FAR = [changed(document, 10, 20, 30, 40, 50) for document in PLAIN[:10]]
"""31 of 81 runs are of both."""


@pytest.fixture(scope="module")
def store(ray_local, tmp_path_factory) -> Store:
    """Three sources; copies and short texts in each."""
    folder = tmp_path_factory.mktemp("near")
    rows = {
        "one": [*PLAIN, *COPIES[:4], "a short text", "two words"],
        "two": [*FAR, *COPIES[4:], "A short text.", "three words now"],
        "three": [*PLAIN[:5], PLAIN[20]],
    }
    specs = []
    for name, documents in rows.items():
        pairs = [[f"{name} query {number}", document] for number, document in enumerate(documents)]
        pairs.append([f"{name} another query", documents[0]])
        path = write_lines(folder / f"{name}.jsonl", pairs)
        specs.append(SourceSpec(name, str(path), "others"))
    return prepare(str(folder / "store"), specs, held_out_share=0.0)


@pytest.fixture(autouse=True)
def here(monkeypatch):
    run_here(monkeypatch, near, rewrite, unique, numbering, run_search)


def left(store, out, rules, **settings):
    return filter_store(store, str(out), rules, Pool(), **settings)


def documents(store: Store, source: str) -> list[str]:
    rows = store.read_rows(source, 0, store.source(source).rows, ["document"])
    return sorted(rows.column("document").to_pylist())


def family(document: str) -> str:
    """What a document is a copy of, itself otherwise."""
    known = dict(zip(COPIES, PLAIN, strict=False)) | {"A short text.": "a short text"}
    return known.get(document, document)


@pytest.mark.parametrize("small", [False, True])
def test_one_document_of_those_that_are_alike_stays_in_the_first_source(store, tmp_path, monkeypatch, small):
    if small:  # many groups, and many ranges
        monkeypatch.setattr(near, "GROUP_ROWS", 1)
        monkeypatch.setattr(near, "RANGE_ROWS", 64)
    result = left(store, tmp_path / "out", Rules(near_duplicates=0.8))
    # In the first source one of each four: which, its hash tells. All of its copies in later sources leave.
    one, two, three = (documents(result, name) for name in ("one", "two", "three"))
    assert {family(document) for document in one} == {*PLAIN, "a short text", "two words"}
    assert len(set(one)) == len(PLAIN) + 2
    assert two == sorted([*FAR, FAR[0], "three words now"])
    staying = set(one)
    assert three == sorted(
        document for document in documents(store, "three") if document in staying or document == PLAIN[20]
    )
    for name in ("one", "two", "three"):
        before, after = store.source(name), result.source(name)
        assert after.dropped.get(REASON, 0) == before.rows - after.rows
    assert result.source("one").dropped[REASON] in range(4, 6)  # two queries have the first document


def test_the_first_is_by_priority_and_what_is_not_chosen_loses_nothing(store, tmp_path):
    result = left(store, tmp_path / "out", Rules(near_duplicates=0.8, priority=("two",)))
    assert documents(result, "two") == documents(store, "two")
    assert "a short text" not in documents(result, "one")
    some = left(store, tmp_path / "some", Rules(near_duplicates=0.8), sources=["one"])
    for name in ("two", "three"):
        assert some.source(name).content == store.source(name).content
    assert not set(PLAIN[4:10]) & set(documents(some, "one"))  # two has their copies


def test_all_rules_together_count_a_pair_once(store, tmp_path):
    result = left(store, tmp_path / "out", Rules(unique=True, near_duplicates=0.8, model="bm25"))
    for name in ("one", "two", "three"):
        lost = sum(result.source(name).dropped.values()) - sum(store.source(name).dropped.values())
        assert lost == store.source(name).rows - result.source(name).rows


@pytest.mark.parametrize("similarity", [0.5, 0.95])
def test_the_ends_of_what_is_allowed(similarity, store, tmp_path):
    result = left(store, tmp_path / "out", Rules(near_duplicates=similarity))
    assert {family(document) for document in documents(result, "one")} == {
        *PLAIN,
        "a short text",
        "two words",
    }


def test_a_cut_off_search_goes_on(store, tmp_path, monkeypatch):
    monkeypatch.setattr(near, "GROUP_ROWS", 1)
    monkeypatch.setattr(near, "RANGE_ROWS", 64)
    rules, compare, phases = Rules(near_duplicates=0.8), near.compare_range, []
    whole = left(store, tmp_path / "whole", rules)

    def cut_off(number, **told):
        if number == 3:
            raise RunError("cut off")
        return compare(number, **told)

    with monkeypatch.context() as patch, pytest.raises(RunError, match="cut off"):
        patch.setattr(near, "compare_range", cut_off)
        left(store, tmp_path / "out", rules)
    result = left(store, tmp_path / "out", rules, report=lambda phase, done: phases.append(phase))
    assert "signing documents" not in phases and phases.count("comparing documents") > 1
    assert result.fingerprint == whole.fingerprint
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_signatures_agree_as_often_as_documents_are_alike():
    def runs(document):
        words = document.split()
        return {tuple(words[start : start + 5]) for start in range(len(words) - 4)}

    base = text(1, 200)
    for changes in (0, 2, 5, 10, 25):
        other = changed(base, *range(5, 200, 200 // changes)[:changes]) if changes else base
        alike = len(runs(base) & runs(other)) / len(runs(base) | runs(other))
        one, two = signatures(pa.array([base, other]))
        assert (one == two).mean() == pytest.approx(alike, abs=0.13)  # three deviations of 128 numbers
    one, two, empty = signatures(pa.array(["Two words", "two WORDS!", "!?"]))
    assert (one == two).all() and (one != empty).any()


def test_wrong_use_is_told_in_one_sentence(monkeypatch):
    for value in (0.4, 0.96, 1, 1.1, -1):
        with pytest.raises(UsageError, match=r"--near-duplicates is .*; allowed is 0.5 to 0.95"):
            Rules(near_duplicates=value)
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(UsageError, match=r"needs the package datasketch .*gte_ray\[minhash\]"):
        near.check_installed()
