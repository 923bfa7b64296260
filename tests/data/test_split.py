"""What is held out: few pairs of a large source, whole queries, and documents if that is asked for."""

import pytest

from gte_ray.cli.store_tables import store_notes
from gte_ray.data.prepare_store import prepare
from gte_ray.data.split import Split
from gte_ray.data.two_passes import SHARED
from gte_ray.errors import UsageError
from gte_ray.readers.spec import SourceSpec
from tests.data.conftest import make_pairs, write_lines
from tests.data.preparing import pairs_of, rows_of

pytestmark = pytest.mark.usefixtures("ray_local")


@pytest.fixture
def pairs(tmp_path) -> SourceSpec:
    """2,000 pairs of 500 documents."""
    rows = [(query, f"document {number % 500}") for number, (query, _) in enumerate(make_pairs(2_000))]
    return SourceSpec("pairs", str(write_lines(tmp_path / "pairs.jsonl", rows)), "code")


def test_the_held_out_share_of_a_large_source_is_capped(pairs, tmp_path):
    whole = prepare(str(tmp_path / "whole"), [pairs], held_out_share=0.25, held_out_rows=0)
    capped = prepare(str(tmp_path / "capped"), [pairs], held_out_share=0.25, held_out_rows=100)
    assert 400 < whole.source("pairs").held_out < 600
    assert 60 < capped.source("pairs").held_out < 140
    assert pairs_of(capped.read_held_out("pairs", 999)) < pairs_of(whole.read_held_out("pairs", 999))
    added = SourceSpec("added", pairs.glob, "code")
    assert prepare(capped.uri, [added]).source("added").held_out == capped.source("pairs").held_out
    with pytest.raises(
        UsageError, match=r"with --seed 0 --held-out 0\.25 --held-out-rows 100, and keeps pairs"
    ):
        prepare(capped.uri, [added], held_out_rows=50)


@pytest.mark.parametrize("most", [10_000, 100])
def test_documents_on_both_sides_are_counted_or_kept_out(pairs, tmp_path, most):
    store = prepare(str(tmp_path / "store"), [pairs], held_out_share=0.1, held_out_rows=most)
    train, held_out = pairs_of(rows_of(store, "pairs")), pairs_of(store.read_held_out("pairs", 999))
    documents = {document for _, document in held_out}
    expected = sum(document in documents for _, document in train)
    assert store.source("pairs").shared_documents == expected > 0
    note = f"pairs: {expected:,} pairs to train on have a document that is held out with another query"
    assert note in store_notes(store)

    settings = {"held_out_share": 0.1, "held_out_rows": most, "held_out_documents": True}
    apart = prepare(str(tmp_path / "apart"), [pairs], **settings)
    info = apart.source("pairs")
    assert pairs_of(apart.read_held_out("pairs", 999)) == held_out
    assert pairs_of(rows_of(apart, "pairs")) == {pair for pair in train if pair[1] not in documents}
    assert (info.shared_documents, info.dropped) == (0, {SHARED: expected})
    assert info.rows + info.held_out + expected == info.read == 2_000
    assert apart.fingerprint != store.fingerprint
    again = prepare(apart.uri, [SourceSpec("again", pairs.glob, "code")]).source("again")
    assert again.dropped == {SHARED: expected}


def test_settings_out_of_range():
    with pytest.raises(UsageError, match="--held-out-rows is -1; allowed is a number of pairs, or 0 for any"):
        Split(held_out_rows=-1)
