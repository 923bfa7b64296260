"""Looking for documents by typed queries: against an exact search by hand, and as a command."""

import io
import re

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from gte_ray.data.store import open_store
from gte_ray.evaluation.lookup import Lookup, read_corpus
from gte_ray.model.load import load_model
from gte_ray.search import main
from tests.model.folders import bare_folder, model_folder


@pytest.fixture(scope="module")
def model(tiny_store, tmp_path_factory) -> str:
    """With prompts, and the store's tokenizer."""
    folder = tmp_path_factory.mktemp("searched")
    bare = bare_folder(folder / "bare")
    open_store(tiny_store).load_tokenizer().save(bare)
    return model_folder(bare, folder / "model", prompts={"query": "river ", "document": "stone "})


def test_a_corpus_has_held_out_documents_first_and_each_text_once(tiny_store):
    store = open_store(tiny_store)
    corpus = read_corpus(store, (), 50)
    assert len(set(corpus.documents)) == len(corpus.documents) == len(corpus.sources)
    for info in store.manifest.sources:
        own = [
            text for text, source in zip(corpus.documents, corpus.sources, strict=True) if source == info.name
        ]
        held_out = store.read_held_out(info.name, 50).column("document").to_pylist()
        trained = store.read_rows(info.name, 0, info.rows, ["document"]).column(0).to_pylist()
        assert len(own) <= 50 and set(own) <= {*held_out, *trained}
        assert set(held_out[:50]) <= set(corpus.documents)
    assert set(read_corpus(store, ("middle",), 50).sources) == {"middle"}


def test_the_nearest_are_those_of_sentence_transformers(tiny_store, model):
    corpus = read_corpus(open_store(tiny_store), (), 40)
    reported: list[int] = []
    lookup = Lookup(corpus, load_model(model), 500, reported.append)
    assert sum(reported) == len(corpus.documents)
    theirs, query = SentenceTransformer(model, device="cpu"), "how to sort"
    scores = theirs.encode_document(list(corpus.documents)) @ theirs.encode_query(query)
    found = lookup.by_model(query, 7)
    assert [hit.score for hit in found] == pytest.approx(np.sort(scores)[::-1][:7], abs=1e-5)
    place = {text: i for i, text in enumerate(corpus.documents)}
    for hit in found:
        assert hit.score == pytest.approx(scores[place[hit.document]], abs=1e-5)
        assert hit.source == corpus.sources[place[hit.document]]


def test_bm25_finds_the_document_with_the_words_and_none_without(tiny_store, model):
    corpus = read_corpus(open_store(tiny_store), (), 40)
    lookup = Lookup(corpus, load_model(model), 500, lambda texts: None)
    wanted = max(corpus.documents, key=lambda text: len(set(text.split())))
    assert lookup.by_bm25(wanted, 3)[0].document == wanted
    assert lookup.by_bm25("qqqqzzzz", 3) == []


def searched(out: str) -> list[str]:
    return re.findall(r"^query: (.*?)\s*$", out, re.MULTILINE)


def test_queries_come_from_flags_or_line_by_line(run_main, tiny_store, model, monkeypatch):
    flags = [model, "--store", tiny_store, "--documents", "20", "--top", "2", "--threads", "1"]
    code, out, err = run_main(main, "search", *flags, "--query", "a [b] river", "stone")
    assert (code, err) == (0, "")
    assert "different documents of 3 source(s), of a store of" in out
    assert searched(out) == ["a [b] river", "stone"] and out.count("BM25") == 2
    assert len(re.findall(r"^ *\d\.\d{3} ", out, re.MULTILINE)) >= 4
    monkeypatch.setattr("sys.stdin", io.StringIO("stone\nriver\n\nnever"))
    code, out, err = run_main(main, "search", *flags, "--sources", "middle")
    assert (code, err) == (0, "")
    assert searched(out) == ["stone", "river"]
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run_main(main, "search", *flags)[0] == 0


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--top", "0"], 2, "--top is 0; allowed is at least 1"),
        (["--documents", "0"], 2, "--documents is 0; allowed is at least 1"),
        (["--sources", "nowhere"], 1, "nowhere"),
        (["--store", "missing"], 1, "missing"),
    ],
    ids=str,
)
def test_what_cannot_be_searched_is_said(run_main, tiny_store, model, flags, code, said):
    found, _, err = run_main(
        main, "search", model, *(["--store", tiny_store] if "--store" not in flags else []), *flags
    )
    assert found == code and err.startswith("error: ") and said in err and err.count("\n") == 1
