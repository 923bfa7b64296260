"""Negatives without the answers of their queries, against brute force, and what is told of answers that fit nothing."""

import json

import numpy as np
import pyarrow as pa
import pytest

from gte_ray.data import rewrite
from gte_ray.data.hashing import text_hashes
from gte_ray.data.prepare_store import prepare
from gte_ray.data.word_runs import normalised
from gte_ray.errors import RunError, UsageError
from gte_ray.mining import answers as answering
from gte_ray.mining import pairs as numbering
from gte_ray.mining import run_search
from gte_ray.mining.answers import LEFT_OUT, choose_without_answers, list_answers
from gte_ray.mining.choose import Window, choose
from gte_ray.mining.mine_store import mine
from gte_ray.readers.spec import SourceSpec
from gte_ray.runtime.pool import Pool
from tests.data.conftest import write_lines
from tests.in_process import run_here
from tests.mining.conftest import file_bytes

QUESTIONS = {"who drew the map": ["Ada Vale"], "when was it drawn": ["1901", "the year 1901"]}
PASSAGES = [
    "The map that Ada drew is in Vale.",
    "ADA VALE, who drew the map!",
    "A map by Ada Valentine, drawn early",
    "it was drawn in the year 1901",
    "when it was drawn nobody knows; in 19 01 perhaps",
    "drawn: 1901",
    "who was the one that drew it",
]
WINDOW = Window(first_rank=1, last_rank=20, negatives=20)


@pytest.fixture(autouse=True)
def here(monkeypatch, ray_local):
    run_here(monkeypatch, numbering, run_search, rewrite, answering)


@pytest.fixture
def store(tmp_path):
    pairs = [[question, f"the right passage on {question}"] for question in QUESTIONS]
    pairs += [[f"question {number} on the map that was drawn", text] for number, text in enumerate(PASSAGES)]
    path = write_lines(tmp_path / "qa.jsonl", pairs)
    return prepare(str(tmp_path / "store"), [SourceSpec("qa", str(path), "open-qa")], held_out_share=0)


def given(tmp_path, rows=None, **fields):
    rows = rows or [{"question": question, "answers": texts} for question, texts in QUESTIONS.items()]
    (tmp_path / "answers.json").write_text(json.dumps(rows))
    return list_answers(
        str(tmp_path / "answers.json"), fields.get("query", "question"), fields.get("text", "answers[]")
    )


def mined(store, out, answers, window=WINDOW):
    told = []
    result = mine(
        store, str(out), "bm25", window, Pool(), answers=answers, report=lambda phase, n: told.append(phase)
    )
    return result, {row["query"]: set(row["negatives"]) for row in rows_of_query(result)}, told


def rows_of_query(store):
    return store.read_rows("qa", 0, store.source("qa").rows, ["query", "negatives"]).to_pylist()


def test_a_document_with_an_answer_in_it_is_no_negative(store, tmp_path):
    answers = given(tmp_path)
    result, found, told = mined(store, tmp_path / "out", answers)
    _, everything, _ = mined(store, tmp_path / "all", None)
    assert everything["who drew the map"] - found["who drew the map"] == {"ADA VALE, who drew the map!"}
    assert everything["when was it drawn"] - found["when was it drawn"] == {PASSAGES[3], PASSAGES[5]}
    others = everything.keys() - QUESTIONS.keys()
    assert all(found[query] == everything[query] for query in others)
    assert result.source("qa").lost_negatives == {LEFT_OUT: 3}
    assert "qa: 2 of 9 pairs have answers" in told
    # The same command does nothing, and without answers the store is another.
    before = file_bytes(result)
    _, _, told = mined(store, tmp_path / "out", answers)
    assert file_bytes(result) == before and not told
    assert mined(store, tmp_path / "out", None)[1] == everything


def test_other_documents_of_the_window_take_their_places(store, tmp_path):
    """As many negatives as there would be if the others had never been found."""
    window = Window(first_rank=1, last_rank=20, negatives=2, seed=4)
    _, found, _ = mined(store, tmp_path / "out", given(tmp_path), window)
    assert len(found["when was it drawn"]) == 2
    assert not found["when was it drawn"] & {PASSAGES[3], PASSAGES[5]}


@pytest.mark.parametrize("seed", range(5))
def test_what_is_chosen_is_chosen_among_those_without(seed, tmp_path):
    """Equal to leaving the documents with an answer out of what was found, whichever are read."""
    random = np.random.default_rng(seed)
    n, k, documents = 30, 12, 40
    retrieved = np.stack([random.permutation(documents)[:k] for _ in range(n)])
    scores = -np.sort(-random.random((n, k)).astype(np.float32), axis=1)
    own = np.ones(n, np.float32)
    queries = np.arange(n, dtype=np.uint64)
    texts = [f"text {number} of {number % 4}" for number in range(documents)]

    class Known:
        def of(self, hashes):
            return [[f"of {int(query) % 4}"] if query % 3 else [] for query in hashes]

    has = np.array(
        [[bool(i % 3) and number % 4 == i % 4 for number in row] for i, row in enumerate(retrieved)]
    )
    window = Window(first_rank=2, last_rank=k, negatives=4, seed=seed)
    expected = choose(retrieved, scores, own, queries, queries, window, barred=has)
    read = []

    def texts_of(numbers):
        read.extend(numbers)
        return [texts[number] for number in numbers]

    pairs, numbers, left_out = choose_without_answers(
        (retrieved, scores, own), (queries, queries), window, Known(), texts_of
    )
    assert pairs.tolist() == expected[0].tolist() and numbers.tolist() == expected[1].tolist()
    assert 0 < left_out <= has[:, 1:].sum()
    assert len(read) < has.size, "not all that was found"


def test_answers_of_other_queries_are_told(store, tmp_path):
    with pytest.raises(
        RunError, match=r"--answers .*: no query of qa is a text 'question' of these files; --answers-query"
    ):
        mined(store, tmp_path / "out", given(tmp_path, [{"question": "another", "answers": ["x"]}]))
    with pytest.raises(UsageError, match=r"--answers-query or --answers-text: "):
        given(tmp_path, text="{a")
    # Punctuation alone would be in every document.
    _, found, _ = mined(
        store,
        tmp_path / "out",
        given(tmp_path, [{"question": q, "answers": ["?!", "Ada Vale"]} for q in QUESTIONS]),
    )
    assert len(found["who drew the map"]) == 3


def test_answers_are_found_by_their_query(tmp_path):
    path = tmp_path / "answers.parquet"
    hashes = text_hashes(pa.array(["a", "b"], pa.large_string()))
    table = pa.table(
        {"query_hash": pa.array([hashes[0], hashes[1], hashes[0]], pa.uint64()), "answer": ["x", "y", "z"]}
    )
    answering.write_parquet(table.sort_by("query_hash"), str(path), 1_024)
    known = answering.Answers(str(path))
    other = text_hashes(pa.array(["c"], pa.large_string()))
    first, second, third = known.of(np.concatenate([hashes, other]))
    assert (sorted(first), second, third) == (["x", "z"], ["y"], [])
    assert known.queries(np.concatenate([hashes, other])) == 2


def test_what_is_no_text_is_no_answer_and_numbers_are(tmp_path, store):
    rows = [
        {"question": "when was it drawn", "answers": [1901, "\ud83d", "", None]},
        {"question": 7, "answers": ["x"]},
        {"question": "\ud83d", "answers": ["x"]},
    ]
    _, found, _ = mined(store, tmp_path / "out", given(tmp_path, rows))
    _, everything, _ = mined(store, tmp_path / "all", None)
    assert everything["when was it drawn"] - found["when was it drawn"] == {PASSAGES[3], PASSAGES[5]}


def test_languages_without_spaces_have_answers_in_the_midst_of_words():
    texts = ["東京は日本の首都です。", "서울은 수도이다", "Valentine's map", "東京", "大阪", "서울"]
    text, korean, english, *answers = normalised(pa.array(texts)).to_pylist()
    assert answering._is_in(answers[0], text) and not answering._is_in(answers[1], text)
    assert answering._is_in(answers[2], korean)
    assert answering._is_in("map", english) and not answering._is_in("valen", english)


def test_a_command_that_was_cut_off_goes_on_with_sources_that_have_no_answers(tmp_path):
    """The answers are those of the source that is done."""
    paths = {
        name: write_lines(tmp_path / f"{name}.jsonl", pairs)
        for name, pairs in (
            (
                "qa",
                [[question, f"on {question}"] for question in QUESTIONS] + [["q", text] for text in PASSAGES],
            ),
            ("other", [[f"a query {n}", f"a query of {n}"] for n in range(9)]),
        )
    }
    specs = [SourceSpec(name, str(path), "open-qa") for name, path in paths.items()]
    both = prepare(str(tmp_path / "both"), specs, held_out_share=0)
    answers = given(tmp_path)
    mine(both, str(tmp_path / "out"), "bm25", WINDOW, Pool(), sources=("qa",), answers=answers)
    result = mine(both, str(tmp_path / "out"), "bm25", WINDOW, Pool(), answers=answers)
    assert {source.name for source in result.manifest.sources} == {"qa", "other"}
