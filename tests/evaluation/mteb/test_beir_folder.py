"""Folders in BEIR's layout as people have them: the scores of pytrec_eval, or a sentence with file and line."""

import gzip
import json

import mteb
import numpy as np
import pytest
import pytrec_eval

from gte_ray.errors import RunError, UsageError
from gte_ray.evaluation.mteb.adapters import MtebBm25
from gte_ray.evaluation.mteb.beir_folder import FolderRetrieval, read_folder
from gte_ray.evaluation.mteb.benchmarks import benchmark
from gte_ray.retrieval.bm25 import Bm25

CORPUS = {
    "1": "river stone cloud",
    "2": "stone window garden metal",
    "3": "signal winter market",
    "4": "planet river river",
    "5": "market stone",
    "6": "cloud garden",
}
QUERIES = {"10": "river stone", "11": "market garden", "12": "planet"}
GRADES = {"10": {"1": 2, "4": 1, "5": 0}, "11": {"3": 1, "6": 3, "2": -1}, "12": {"4": 1}}
ROWS = [(query, document, grade) for query, found in GRADES.items() for document, grade in found.items()]
TSV = "".join(f"{q}\t{d}\t{g}\n" for q, d, g in ROWS)
HEADER = "query-id\tcorpus-id\tscore\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "qrels").mkdir()
    write(
        tmp_path / "corpus.jsonl", [{"_id": name, "title": "", "text": text} for name, text in CORPUS.items()]
    )
    write(tmp_path / "queries.jsonl", [{"_id": name, "text": text} for name, text in QUERIES.items()])
    (tmp_path / "qrels/test.tsv").write_text(HEADER + TSV)
    return tmp_path


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def scores(folder):
    """nDCG@10 and recall@100 of BM25 through mteb."""
    found = mteb.evaluate(
        MtebBm25(), FolderRetrieval(folder), cache=None, co2_tracker=False, show_progress_bar=False
    )
    result = found.task_results[0].scores["test"][0]
    return result["ndcg_at_10"], result["recall_at_100"]


def expected(grades=GRADES, corpus=CORPUS):
    """The same by pytrec_eval alone."""
    similarity = Bm25(list(corpus.values())).scores(list(QUERIES.values()))
    found = {
        query: {document: float(s) for document, s in zip(corpus, row, strict=True) if s > 0}
        for query, row in zip(QUERIES, similarity, strict=True)
    }
    rows = pytrec_eval.RelevanceEvaluator(grades, {"ndcg_cut.10", "recall.100"}).evaluate(found).values()
    return tuple(np.mean([row[name] for row in rows]) for name in ("ndcg_cut_10", "recall_100"))


@pytest.mark.parametrize(
    "text",
    [
        HEADER + TSV,
        TSV,
        "".join(f"{q} 0 {d} {g}\n" for q, d, g in ROWS),
        "".join(f"{q}\t0\t{d}\t{g}\n" for q, d, g in ROWS),
        "".join(f"{q} {d} {g}\n" for q, d, g in ROWS),
        HEADER + "".join(f"{q}\t{d}\t{g}.0\n" for q, d, g in ROWS),
        HEADER + TSV + "\n\n",
        "\ufeff" + HEADER + TSV,
        (HEADER + TSV).replace("\n", "\r\n"),
        "corpus_id\tquery_id\trelevance\n" + "".join(f"{d}\t{q}\t{g}\n" for q, d, g in ROWS),
        HEADER + TSV + TSV.splitlines()[0],
    ],
    ids=["header", "none", "trec", "trec-tabs", "spaces", "decimals", "blank", "bom", "crlf", "order", "twice"],
)  # fmt: skip
def test_judgements_in_any_form_give_pytrec_evals_scores(folder, text):
    (folder / "qrels/test.tsv").write_text(text, newline="")
    assert read_folder(folder).relevant == GRADES
    assert read_folder(folder).notes == ()
    assert scores(folder) == pytest.approx(expected(), abs=1e-5)


def test_texts_in_any_form_are_the_same_texts(folder):
    rows = [{"_id": int(name), "title": text, "text": None} for name, text in CORPUS.items()]
    (folder / "corpus.jsonl").unlink()
    with gzip.open(folder / "corpus.jsonl.gz", "wt", encoding="utf-8-sig") as file:
        file.writelines(json.dumps(row) + "\r\n\r\n" for row in rows)
    write(folder / "queries.jsonl", [{"id": int(name), "text": text} for name, text in QUERIES.items()])
    found = read_folder(folder)
    assert (found.corpus, found.queries, found.notes) == (CORPUS, QUERIES, ())
    assert benchmark(str(folder), check=True).name == folder.name


def test_what_is_missing_is_told_and_counts_as_trec_eval_counts_it(folder):
    """A judged document that nobody can find lowers the score; a query that is not there has none."""
    (folder / "qrels/test.tsv").write_text(TSV + "10\tgone\t2\n99\t1\t1\n")
    write(folder / "corpus.jsonl", [{"_id": n, "text": t} for n, t in {**CORPUS, "7": ""}.items()])
    found = read_folder(folder)
    assert found.notes == (
        f"{folder}/qrels/test.tsv: 1 of 4 queries are not in queries.jsonl and are left out",
        f"{folder}/qrels/test.tsv: 1 of 7 documents are not in corpus.jsonl and cannot be found",
        f"{folder}: 1 of 7 documents have no text",
    )
    grades = {**GRADES, "10": {**GRADES["10"], "gone": 2}}
    assert expected(grades)[0] < expected()[0] - 0.01
    assert scores(folder) == pytest.approx(expected(grades, {**CORPUS, "7": ""}), abs=1e-5)


def test_the_only_judgements_are_used_and_one_of_several_is_not_guessed(folder):
    (folder / "qrels/test.tsv").rename(folder / "qrels/dev.tsv")
    assert read_folder(folder).notes == (f"{folder}/qrels/dev.tsv is used: there is no test.tsv",)
    (folder / "qrels/train.tsv").write_text(TSV)
    with pytest.raises(UsageError, match=r"qrels/test.tsv: missing .*; there are dev.tsv, train.tsv"):
        FolderRetrieval(folder)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("qrels/test.tsv", TSV + "10\t1\n", r"test.tsv, line 8: has 2 column\(s\); allowed are query"),
        ("qrels/test.tsv", TSV + "10\t2\t0.5\n", "line 8: the grade is '0.5'; allowed is a whole number"),
        ("qrels/test.tsv", "a\tb\tc\n" + TSV, "line 1: the grade is 'c'"),
        ("qrels/test.tsv", TSV + "10\t1\tnan\n", "line 8: the grade is 'nan'"),
        ("qrels/test.tsv", TSV + "10\t1\t1\n", "line 8: query 10 has another grade for document 1 above"),
        ("qrels/test.tsv", HEADER + "\n", "test.tsv: has no judgements"),
        ("qrels/test.tsv", "a\tb\t1\n", "not one of its queries and documents is in"),
        ("queries.jsonl", '{"_id": "10", "text": null}\n', "queries.jsonl, line 1: 10 has judgements and no text"),
        ("queries.jsonl", '{"_id": "10"}\n', "queries.jsonl, line 1: 10 has judgements and no text"),
        ("queries.jsonl", '{"text": "a"}\n', "queries.jsonl, line 1: _id is null; allowed is a text or a whole"),
        ("corpus.jsonl", '{"_id": "1", "text": ["a"]}\n', r'line 1: title or text is \["a"\]; allowed is a text'),
        ("corpus.jsonl", '\n{"_id": "1",\n', "corpus.jsonl, line 2: not JSON"),
        ("corpus.jsonl", "[1]\n", "corpus.jsonl, line 1: not an object with _id and text"),
        ("corpus.jsonl", '{"_id": 1, "text": "a"}\n{"_id": "1", "text": "b"}\n', "line 2: 1 has another text above"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_named_with_its_line(folder, name, content, sentence):
    (folder / name).write_text(content)
    with pytest.raises(RunError, match=sentence):
        benchmark(str(folder), check=True)


def test_a_file_that_is_not_utf_8(folder):
    (folder / "corpus.jsonl").write_text('{"_id": "1", "text": "a"}\n', encoding="utf-16")
    with pytest.raises(RunError, match=r"corpus.jsonl: not UTF-8 text"):
        read_folder(folder)
