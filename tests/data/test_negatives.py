"""Hard negatives against their definition, written naively."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from gte_ray.data.hashing import text_hashes
from gte_ray.data.mixture import PlanSource
from gte_ray.data.negatives import fill, rotate, unite_negatives
from gte_ray.data.prepare_store import prepare
from gte_ray.data.read import StreamConfig, read_batch
from gte_ray.data.store import open_store
from gte_ray.readers.spec import SourceSpec
from tests.data.conftest import make_pairs, write_lines

TEXT = st.sampled_from(list("abcdefg"))


def hashes_of(texts):
    return text_hashes(pa.array(texts, pa.large_string()))


@given(st.lists(st.tuples(st.integers(0, 2), st.lists(TEXT, max_size=5)), max_size=8))
@settings(deadline=None)
def test_a_pair_has_the_negatives_of_all_its_rows(rows):
    queries, documents = ["a", "b", "a"], ["c", "c", "d"]
    given = [(pair, text) for pair, texts in rows for text in texts]
    owners = np.array([pair for pair, _ in given], np.int64)
    all_hashes = hashes_of([text for _, text in given])
    places, offsets = unite_negatives(all_hashes, owners, hashes_of(queries), hashes_of(documents))
    for pair, (query, document) in enumerate(zip(queries, documents, strict=True)):
        expected = {text for owner, text in given if owner == pair} - {query, document}
        own = places[offsets[pair] : offsets[pair + 1]]
        assert sorted(given[place][1] for place in own) == sorted(expected)
        assert all_hashes[own].tolist() == sorted(all_hashes[own].tolist())


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(1, 5), st.integers(0, 3))
def test_epochs_rotate_through_the_negatives(lengths, k, seed):
    n = len(lengths)
    hashes = np.arange(n, dtype=np.uint64), np.arange(n, dtype=np.uint64) + np.uint64(100)
    seen = [[] for _ in lengths]
    for epoch in range(12):
        picks = rotate(np.array(lengths), np.full(n, epoch), *hashes, k, seed)
        assert Counter(picks.owners.tolist()) == Counter(
            {pair: min(k, length) for pair, length in enumerate(lengths) if length}
        )
        assert picks.owners.tolist() == sorted(picks.owners)
        for owner, position in zip(picks.owners, picks.positions, strict=True):
            seen[owner].append(int(position))
    for length, positions in zip(lengths, seen, strict=True):
        if length > k:  # one after another, around and around
            assert all((b - a) % length == 1 % length for a, b in pairwise(positions))
        if length:
            counts = Counter(positions)
            assert set(counts) == set(range(length))


def test_the_seed_decides_where_a_pair_begins():
    hashes = np.arange(50, dtype=np.uint64), np.arange(50, dtype=np.uint64)
    first, again, other = (
        rotate(np.full(50, 1_000), np.zeros(50, np.int64), *hashes, 1, seed).positions for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert (first != other).mean() > 0.9
    assert len(set(first)) > 40


@given(st.lists(st.integers(0, 3), min_size=1, max_size=5), st.data())
def test_a_pair_is_never_filled_with_its_own_document(missing, data):
    k = 3
    documents = data.draw(st.lists(st.integers(0, 2), min_size=len(missing), max_size=len(missing)))
    size = len(missing) * (k + 1)
    pool = data.draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))
    picks = fill(np.array(missing), np.array(documents, np.uint64), np.array(pool, np.uint64), k)
    expected = [
        (pair, place)
        for pair in range(len(missing))
        for place in [p for p in range(pair * (k + 1), (pair + 1) * (k + 1)) if pool[p] != documents[pair]][
            : missing[pair]
        ]
    ]
    assert list(zip(picks.owners.tolist(), picks.positions.tolist(), strict=True)) == expected


def triples(folder, name="source"):
    """A source of 40 pairs, every third with five negatives, given in two rows of the input."""
    rows = []
    for number, (query, document) in enumerate(make_pairs(40)):
        hard = [f"hard {number} {i}" for i in range(5)] if number % 3 == 0 else []
        rows += [{"query": query, "pos": [document], "neg": hard[:3]}]
        rows += [{"query": query, "pos": [document], "neg": hard[2:]}] if hard else []
    return SourceSpec(name, str(write_lines(folder / f"{name}.jsonl", rows)), "others")


def test_a_batch_has_whole_groups_of_stored_and_random_negatives(ray_local, tmp_path):
    from gte_ray.data.ids import Ids

    spec = triples(tmp_path)
    store = prepare(str(tmp_path / "store"), [spec], held_out_share=0, ids=Ids(vocabulary=300, max_length=24))
    assert store.source("source").negatives == 5 * 14
    texts = read_whole(store, stored_ids=False)
    ids = read_whole(store, stored_ids=True)
    columns = ["query", "document", "negatives", "document_hash"]
    rows = {row["document"]: row for row in store.read_rows("source", 0, 40, columns).to_pylist()}
    known = {hash_: text for text in rows for hash_ in hashes_of([text])}
    known |= {
        hash_: text for row in rows.values() for text in row["negatives"] for hash_ in hashes_of([text])
    }
    for batches in (texts, ids):
        hard = {text: [] for text in rows}
        for batch in batches:
            for pair, hash_ in enumerate(batch.document_hashes):
                own = batch.negative_owners == pair
                negatives = [known[h] for h in batch.negative_hashes[own]]
                row = rows[known[hash_]]
                assert len(negatives) == 3
                assert row["document"] not in negatives
                assert set(negatives) <= (set(row["negatives"]) if row["negatives"] else set(rows))
                hard[row["document"]] += negatives
        # Five epochs of three negatives each show five stored ones three times.
        for document, row in rows.items():
            if row["negatives"]:
                assert Counter(hard[document]) == Counter(dict.fromkeys(row["negatives"], 3))
    for one, other in zip(texts, ids, strict=True):
        assert np.array_equal(one.negatives.values, other.negatives.values)
        assert np.array_equal(one.negatives.offsets, other.negatives.offsets)


def read_whole(store, stored_ids):
    """Five epochs; each step read in one shard and in three, which hold the same."""
    stream = StreamConfig(
        store=store.uri,
        sources=(PlanSource("source", 40),),
        alpha=0.5,
        global_batch=8,
        seed=3,
        steps=25,
        max_length=16,
        tokenizer=store.load_tokenizer(),
        stored_ids=stored_ids,
        group_size=4,
    )
    plan, batches = stream.plan(), []
    for step in range(25):
        whole = read_batch(stream, store, plan[step])
        shards = [read_batch(stream, store, plan[step].shard(rank, 3)) for rank in range(3)]
        sizes = np.cumsum([0, *(len(shard.queries) for shard in shards)])
        owners = [shard.negative_owners + size for shard, size in zip(shards, sizes, strict=False)]
        assert np.array_equal(np.concatenate(owners), whole.negative_owners)
        together = np.concatenate([shard.negative_hashes for shard in shards])
        assert np.array_equal(together, whole.negative_hashes)
        batches.append(whole)
    return batches


def test_negatives_count_in_the_fingerprint_of_a_store(ray_local, tmp_path):
    pairs = [{"query": q, "pos": [d], "neg": []} for q, d in make_pairs(5)]
    fingerprints = []
    for number, negatives in enumerate([[], ["x"], ["x", "y"], ["y", "x", "x"]]):
        pairs[0]["neg"] = negatives
        spec = SourceSpec("s", str(write_lines(tmp_path / f"{number}.jsonl", pairs)), "others")
        fingerprints.append(prepare(str(tmp_path / f"store{number}"), [spec], held_out_share=0).fingerprint)
    assert len(set(fingerprints)) == 3
    assert fingerprints[2] == fingerprints[3]
    assert open_store(str(tmp_path / "store0")).source("s").negatives == 0
