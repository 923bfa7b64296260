"""A store gives the rows that are in it, and says what is wrong with one that is not whole."""

import json
import pickle
import shutil
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gte_ray.data import part_reader
from gte_ray.data.finished import FinishedSources
from gte_ray.data.hashing import pair_hashes, seeded, text_hashes
from gte_ray.data.ids import Ids
from gte_ray.data.prepare_store import prepare
from gte_ray.data.store import Store, open_store
from gte_ray.errors import RunError
from gte_ray.readers.spec import SourceSpec
from tests.data.conftest import make_pairs, write_lines

ROWS = 6_000
COLUMNS = ["query", "document", "query_hash", "document_hash", "query_ids", "document_ids"]


@pytest.fixture(scope="module")
def store(ray_local, tmp_path_factory) -> Store:
    """A source of four parts of several row groups, and one of a single pair."""
    folder = tmp_path_factory.mktemp("store")
    pairs = write_lines(folder / "pairs.jsonl", [list(pair) for pair in make_pairs(ROWS)])
    one = write_lines(folder / "one.jsonl", [["the query", "the document"]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gte_ray.data.prepare_store.PART_ROWS", 1_700)
        return prepare(
            str(folder / "store"),
            [SourceSpec("pairs", str(pairs), "code"), SourceSpec("one", str(one), "news")],
            held_out_share=0.1,
            ids=Ids(vocabulary=300, max_length=24),
        )


@pytest.fixture
def copy(store, tmp_path) -> Path:
    """A copy of the store, to be damaged."""
    return Path(shutil.copytree(store.uri, tmp_path / "copy"))


def whole(store: Store, source: str) -> pa.Table:
    return pa.concat_tables(pq.read_table(f"{store.uri}/{part.path}") for part in store.source(source).parts)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_rows_across_row_groups_and_parts(store, data):
    rows = store.source("pairs").rows
    start = data.draw(st.integers(0, rows))
    stop = data.draw(st.integers(start, rows))
    columns = data.draw(st.lists(st.sampled_from(COLUMNS), min_size=1, unique=True))
    found = store.read_rows("pairs", start, stop, columns)
    assert found.column_names == columns
    assert found.equals(whole(store, "pairs").slice(start, stop - start).select(columns))


def test_only_the_row_groups_needed_are_read(store):
    assert len(store.source("pairs").parts) == 4
    first = store.source("pairs").parts[0].rows
    assert first > 1_024
    opened = open_store(store.uri)
    opened.read_rows("pairs", first, first + 5, ["query"])
    assert opened.reader.decoded_rows == 1_024


def test_held_out_pairs(store):
    info = store.source("pairs")
    held_out = store.read_held_out("pairs", 10**6)
    assert len(held_out) == info.held_out
    assert store.read_held_out("pairs", 7).equals(held_out.slice(0, 7))
    queries = set(held_out["query"].to_pylist())
    assert not queries & set(whole(store, "pairs")["query"].to_pylist())
    assert store.read_held_out("one", 5).num_rows == store.source("one").held_out == 0


def test_ids_in_the_store_are_those_of_its_texts(store):
    tokenizer = store.load_tokenizer()
    rows = store.read_rows("pairs", 0, 500, COLUMNS)
    for name in ("query", "document"):
        expected = tokenizer.content_ids(rows[name].to_pylist(), 24)
        found = rows[f"{name}_ids"].to_pylist()
        assert [token for text in found for token in text] == expected.values.tolist()
        assert list(map(len, found)) == expected.lengths.tolist()


def test_hashes_against_plain_integers(store):
    """BLAKE2b of the text, and SplitMix64 over Python's integers."""
    mask = 2**64 - 1

    def mix(z):
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        return z ^ (z >> 31)

    def text_hash(text):
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")

    def seeded_hash(value, seed):
        return mix(value ^ mix((seed + 0xD1B54A32D192ED03) & mask))

    rows = store.read_rows("pairs", 0, 100, COLUMNS)
    queries, documents = ([text_hash(t) for t in rows[name].to_pylist()] for name in ("query", "document"))
    assert text_hashes(rows["query"].combine_chunks()).tolist() == queries
    assert rows["query_hash"].to_pylist() == queries
    assert rows["document_hash"].to_pylist() == documents
    for seed in (0, 7, 2**64 - 1):
        expected = [
            mix(((seeded_hash(q, seed) ^ 0x9E3779B97F4A7C15) + mix(d)) & mask)
            for q, d in zip(queries, documents, strict=True)
        ]
        arrays = np.array(queries, np.uint64), np.array(documents, np.uint64)
        assert pair_hashes(*arrays, seed).tolist() == expected
        assert seeded(arrays[0], seed).tolist() == [seeded_hash(q, seed) for q in queries]


def test_rows_are_in_ascending_order_of_the_pair_hash(store):
    rows = whole(store, "pairs")
    hashes = pair_hashes(rows["query_hash"].to_numpy(), rows["document_hash"].to_numpy(), 0)
    assert (np.diff(hashes.astype(object)) > 0).all()


def test_a_store_that_moved_or_was_sent_is_the_same(store, copy):
    moved = open_store(f"file://{copy}")
    sent = pickle.loads(pickle.dumps(moved))
    assert store.fingerprint == moved.fingerprint == sent.fingerprint
    assert sent.read_rows("pairs", 5, 9, COLUMNS).equals(store.read_rows("pairs", 5, 9, COLUMNS))


def test_an_unknown_source_is_named_with_those_there_are(store):
    with pytest.raises(RunError, match="no source 'papers'; there are pairs, one"):
        store.source("papers")


def test_a_store_that_is_missing_or_not_finished(copy, tmp_path):
    with pytest.raises(RunError, match="nowhere: the pair store is missing"):
        open_store(str(tmp_path / "nowhere"))
    (copy / "manifest.json").unlink()
    with pytest.raises(RunError, match="the pair store is not finished: run the same prepare command"):
        open_store(str(copy))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a manifest"),
        ("[]", "not a manifest of a pair store"),
        ('{"version": "one"}', "not a manifest of a pair store"),
        ('{"version": 1}', r"not a manifest of version 1 \(seed is missing\)"),
        ('{"version": 1, "seed": 0, "held_out_share": 0, "sources": [3]}', r"\(sources.0 is 3; allowed is a"),
        ('{"version": 99}', "is of version 99, newer than this gte_ray reads"),
    ],
)
def test_a_manifest_that_cannot_be_used(copy, text, message):
    (copy / "manifest.json").write_text(text)
    with pytest.raises(RunError, match=message) as caught:
        open_store(str(copy))
    assert str(caught.value).startswith(f"{copy}/manifest.json")


def test_a_source_that_a_newer_version_wrote_is_prepared_again(store, copy):
    def wanted(info):
        return info.name == "one"

    assert FinishedSources(str(copy)).source("one", wanted) == store.source("one")
    record = copy / store.source("one").folder / "source.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"newer": 1}))
    assert FinishedSources(str(copy)).source("one", wanted) is None


def test_parts_that_are_damaged_are_named(store, copy):
    part = copy / store.source("pairs").parts[1].path
    content = part.read_bytes()
    part.write_bytes(content[:-100])
    with pytest.raises(RunError, match=rf"{part}: has [\d,]+ bytes where the manifest says {len(content):,}"):
        open_store(str(copy))
    part.unlink()
    with pytest.raises(RunError, match=f"{part}: missing"):
        open_store(str(copy))
    shutil.copy(copy / store.source("one").parts[0].path, part)
    first = store.source("pairs").ends[0]
    with pytest.raises(RunError, match=f"{part}: has 1 rows where the manifest says"):
        open_store(str(copy), check=False).read_rows("pairs", first, first + 1, ["query"])


def test_the_manifest_tells_what_is_in_the_store(store):
    value = json.loads(Path(store.uri, "manifest.json").read_text())
    names = {source["name"]: source for source in value["sources"]}
    assert names["pairs"]["rows"] + names["pairs"]["held_out"] == names["pairs"]["read"] == ROWS
    assert names["pairs"]["reader"] == "[query, document]"
    assert store.source("pairs").bytes == sum(
        Path(store.uri, part.path).stat().st_size for part in store.source("pairs").parts
    )


def test_opening_opens_no_part(store, monkeypatch):
    monkeypatch.setattr(pq, "ParquetFile", lambda *_: pytest.fail("a part was opened"))
    assert open_store(store.uri) == store


def test_neighbouring_reads_decode_a_row_group_once_and_few_parts_stay_open(store, monkeypatch):
    opened = open_store(store.uri)
    reader, rows = opened.reader, store.source("pairs").rows
    whole_source = opened.read_rows("pairs", 0, rows, COLUMNS)
    for start in range(0, rows, 100):
        part = opened.read_rows("pairs", start, min(start + 100, rows), COLUMNS)
        assert part.equals(whole_source.slice(start, 100))
    assert reader.decoded_rows == rows
    monkeypatch.setattr(part_reader, "DECODED_BYTES", 1)
    monkeypatch.setattr(part_reader, "OPEN_PARTS", 2)
    for start in (0, rows - 100, 0, rows - 100):
        assert opened.read_rows("pairs", start, start + 9, ["query"]).equals(
            whole_source.select(["query"]).slice(start, 9)
        )
    assert reader.decoded_rows > rows
    assert len(reader._groups) == 1 and len(reader._files) <= 4


def test_a_part_whose_content_is_damaged_is_named(store, copy):
    """Its footer is whole, so that opening the store finds nothing."""
    part = store.source("pairs").parts[0].path
    path = copy / part
    content = bytearray(path.read_bytes())
    content[2_000:5_000] = bytes(3_000)
    path.write_bytes(content)
    with pytest.raises(RunError, match=rf"{part}: cannot be read \("):
        open_store(str(copy)).read_rows("pairs", 0, 1_000, ["query", "document"])
