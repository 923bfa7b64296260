"""Pairs that are in a benchmark are left out and counted, and no others."""

import gzip
import json
import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gte_ray.data import benchmarks
from gte_ray.data.benchmarks import WORDS, HashSet, Known, without_benchmarks
from gte_ray.data.prepare_store import prepare
from gte_ray.data.store import open_store
from gte_ray.errors import RunError, UsageError
from gte_ray.readers.chunks import Chunk
from gte_ray.readers.spec import SourceSpec
from tests.data.conftest import make_pairs, write_lines
from tests.data.preparing import files, pairs_of, rows_of

LARCH = (
    "The larch is a conifer that sheds its needles each autumn, which most others do not do, and it grows far to "
    "the north, farther than any other tree."
)


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def found(texts: list[str], known: list[str]) -> list[bool]:
    hashes = benchmarks.hashes_of([(text, "") for text in known])
    sets = Known(HashSet(hashes.texts), HashSet(hashes.runs))
    return benchmarks.found_in(pa.array(texts, pa.large_string()), sets).tolist()


WORD = st.sampled_from(["a", "b", "C", "é", "12"])
SEPARATOR = st.sampled_from([" ", ", ", "-", "  ", "\n"])
TEXT = st.lists(st.tuples(WORD, SEPARATOR), max_size=60).map(lambda parts: "".join(map("".join, parts)))


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=5), st.lists(TEXT, min_size=1, max_size=5))
def test_what_is_found_is_what_a_plain_search_finds(texts, known):
    """Long runs always, short ones never, those between by where they begin."""

    def runs(text: str, length: int) -> set[tuple[str, ...]]:
        words = words_of(text)
        return {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}

    equal = {tuple(words_of(text)) for text in known} - {()}
    long = {run for text in known for run in runs(text, 2 * WORDS - 1)}
    short = {run for text in known for run in runs(text, WORDS)}
    for text, is_found in zip(texts, found(texts, known), strict=True):
        if tuple(words_of(text)) in equal or runs(text, 2 * WORDS - 1) & long:
            assert is_found
        elif not runs(text, WORDS) & short:
            assert not is_found


def test_each_long_run_of_a_text_is_found_wherever_it_begins_and_no_short_one():
    words = [f"word{number}" for number in range(90)]

    def of_length(length: int) -> list[bool]:
        slices = [words[start : start + length] for start in range(len(words) - length + 1)]
        return found([f"before {' '.join(part)} behind" for part in slices], [" ".join(words)])

    assert all(of_length(2 * WORDS - 1))
    assert not any(of_length(WORDS - 1))
    # Those of 13 words that begin at every thirteenth word are kept.
    assert [start for start, is_found in enumerate(of_length(WORDS)) if is_found] == list(range(0, 78, WORDS))


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("how OLD is the moon", True),
        ("How old is the sun?", False),
        ("\uff48\uff4f\uff57 old is the moon", True),  # full width
        (f"As I read: {LARCH}", True),
        (" ".join(LARCH.split()[:WORDS]), True),  # its first words
        (" ".join(LARCH.split()[: WORDS - 1]), False),
        ("", False),
        ("?!", False),
        ("月は何歳ですか", True),
        ("月は何歳ですか。", True),
        ("それで月は何歳ですか", False),  # a part of what has no spaces
    ],
)
def test_equal_texts_and_long_runs(text, is_found):
    assert found([text], ["How old is the Moon?", LARCH, "月は何歳ですか?", "?"]) == [is_found]


@pytest.fixture
def beir(tmp_path):
    """A folder in BEIR's layout."""
    folder = tmp_path / "beir"
    folder.mkdir()
    write_lines(folder / "queries.jsonl", [{"_id": "1", "text": "How old is the Moon?"}])
    rows = [{"_id": "a", "title": "Larch", "text": LARCH}, {"_id": "b", "title": "Moon", "text": "Its age."}]
    with gzip.open(folder / "corpus.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return folder


PAIRS = [
    ["how OLD is the moon", "four billion years"],
    ["what is a larch", f"I read: {LARCH}"],
    ["Moon", "its AGE"],
    ["Where?", "Moon: its age."],  # with its title
    ["Is it cold?", "yes"],
    ["Its age, please", "Moon"],
]


@pytest.mark.usefixtures("ray_local")
def test_a_store_stays_without_the_benchmarks(beir, tmp_path):
    uri = str(tmp_path / "store")
    first = SourceSpec("first", str(write_lines(tmp_path / "first.jsonl", PAIRS)), "others")
    store = prepare(uri, [first], held_out_share=0.0, decontaminate=[str(beir)])
    assert pairs_of(rows_of(store, "first")) == {tuple(pair) for pair in PAIRS[4:]}
    assert store.source("first").dropped == {"in a benchmark": 4}
    before = files(tmp_path / "store")
    # What is added later is without them too, and what is there is not done again.
    second = SourceSpec("second", str(write_lines(tmp_path / "second.jsonl", PAIRS[::-1])), "others")
    calls: list[str] = []
    store = prepare(uri, [first, second], report=lambda phase, rows: calls.append(phase))
    assert "reading first" not in calls
    assert store.source("second").dropped == {"in a benchmark": 4}
    assert before.items() <= files(tmp_path / "store").items()
    # Other benchmarks are another store.
    other = write_lines(tmp_path / "other.jsonl", [{"text": "yes"}])
    with pytest.raises(UsageError, match=r"was prepared with .* --decontaminate \(texts .*and keeps first"):
        prepare(uri, [second], decontaminate=[str(other)])
    assert open_store(uri).source("first").rows == 2
    store = prepare(uri, [first, second], decontaminate=[str(other)])
    assert store.source("first").dropped == {"in a benchmark": 1}
    assert len(list((tmp_path / "store").glob("benchmarks-*"))) == 1
    # And none is a third one.
    store = prepare(uri, [first, second], decontaminate=[])
    assert store.source("first").dropped == {} and not store.manifest.benchmarks
    assert not list((tmp_path / "store").glob("benchmarks-*"))


@pytest.mark.usefixtures("ray_local")
def test_the_same_benchmarks_in_any_order_and_packing_are_the_same(beir, tmp_path):
    spec = SourceSpec("first", str(write_lines(tmp_path / "first.jsonl", PAIRS)), "others")
    prepare(str(tmp_path / "one"), [spec], decontaminate=[str(beir)])
    (tmp_path / "packed").mkdir()
    with gzip.open(beir / "corpus.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file][::-1]
    write_lines(tmp_path / "packed/b.jsonl", rows)
    write_lines(tmp_path / "packed/a.jsonl", [{"text": "how old is the moon"}] * 3)
    prepare(str(tmp_path / "two"), [spec], decontaminate=[f"{tmp_path}/packed/*.jsonl"])
    assert files(tmp_path / "one") == files(tmp_path / "two")
    names = [[path.name for path in (tmp_path / store).glob("*.npz")] for store in ("one", "two")]
    assert names[0] == names[1]


@pytest.mark.usefixtures("ray_local")
def test_a_source_of_which_nothing_is_left_is_told_and_most_may_be_in_a_benchmark(beir, tmp_path):
    spec = SourceSpec("all", str(write_lines(tmp_path / "all.jsonl", PAIRS[:4])), "others")
    with pytest.raises(RunError, match=r"none of 4 rows is a pair of texts \(4 in a benchmark\)") as caught:
        prepare(str(tmp_path / "store"), [spec], decontaminate=[str(beir)])
    assert 'in a benchmark: {"query": "how OLD is the moon"' in str(caught.value)


@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize(
    ("content", "path", "message"),
    [
        ({}, "none", "--decontaminate .*none: no file matches"),
        ({"x.jsonl": '{"text": "a"}'}, "", "has neither queries.jsonl nor corpus.jsonl; name files"),
        ({"queries.jsonl": '{"query": "a"}'}, "", "there is no column 'text'; there are 'query'"),
        ({"queries.jsonl": '{"text": ""}'}, "", "there is no text in a column 'text'"),
        ({"queries.jsonl": ""}, "", "there is no text in a column 'text'"),
        (
            {"queries.jsonl": '{"text": "a"}\n[not json'},
            "",
            "a row of the benchmark cannot be read \\(not json\\)",
        ),
        (
            {"queries.jsonl": '{"text": "a"}\n{"text": 7}'},
            "",
            "a text of the benchmark is none \\(not text\\)",
        ),
        ({"queries.jsonl": '{"text": "\\ud800"}'}, "", "a text of the benchmark is none"),
    ],
)
def test_benchmarks_that_cannot_be_read_are_told(tmp_path, content, path, message):
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, text in content.items():
        (folder / name).write_text(text + "\n" if text else "")
    spec = SourceSpec("s", str(write_lines(tmp_path / "s.jsonl", make_pairs(5))), "others")
    with pytest.raises(RunError, match=message):
        prepare(str(tmp_path / "store"), [spec], decontaminate=[str(folder / path) if path else str(folder)])
    assert not list((tmp_path / "store").glob("*/*"))


def test_a_store_whose_hashes_are_gone_says_so(tmp_path):
    table = pa.table({"query": ["a"], "document": ["b"]})
    chunk = Chunk(table, {}, "", {}, {}, {})
    assert without_benchmarks(chunk, "") is chunk
    with pytest.raises(
        RunError, match=r"benchmarks-x\.npz: missing; give --decontaminate with the benchmarks again"
    ):
        without_benchmarks(chunk, str(tmp_path / "benchmarks-x.npz"))
