"""What holds for a store however its pairs come: in any files and formats, any order, any size of tasks and runs."""

import json
import random
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gte_ray.data import benchmarks, prepare_store, sort, two_passes, units
from gte_ray.data.prepare_store import prepare
from gte_ray.data.store import open_store
from gte_ray.readers.spec import SourceSpec
from tests.data.conftest import make_pairs
from tests.data.preparing import files, pairs_of, rows_of

PAIRS = [*make_pairs(150), *((query, "the same document") for query, _ in make_pairs(10, seed=1))]
READ = PAIRS + PAIRS[:30]
"""With duplicates, which count as the number of parts is chosen."""
PART_ROWS = 40


def write_json(path: Path, pairs) -> None:
    path.with_suffix(".jsonl").write_text(
        "".join(json.dumps({"query": q, "document": d}) + "\n" for q, d in pairs)
    )


def write_parquet(path: Path, pairs) -> None:
    columns = {
        name: pa.array([pair[number] for pair in pairs], pa.string())
        for number, name in enumerate(("query", "document"))
    }
    pq.write_table(pa.table(columns), path.with_suffix(".parquet"), row_group_size=13)


def write_tsv(path: Path, pairs) -> None:
    path.with_suffix(".tsv").write_text("query\tdocument\n" + "".join(f"{q}\t{d}\n" for q, d in pairs))


def store_of(folder: Path, pieces, task_order: random.Random, most: dict) -> str:
    """A store of files with `pieces` of the pairs, by tasks that end in another order than they are given."""

    def run_tasks(todo, task):
        todo = list(todo)
        return (result for unit in task_order.sample(todo, len(todo)) for result in task(unit))

    with pytest.MonkeyPatch.context() as patch:
        for module in (two_passes, benchmarks):
            patch.setattr(module, "run_tasks", run_tasks)
        patch.setattr(prepare_store, "PART_ROWS", PART_ROWS)
        for (module, name), value in most.items():
            patch.setattr(module, name, value)
        (folder / "input").mkdir()
        for number, (write, pairs) in enumerate(pieces):
            write(folder / "input" / f"{number}", pairs)
        source = SourceSpec("pairs", f"{folder}/input/*", "code")
        return prepare(str(folder / "store"), [source], held_out_share=0.1).uri


@pytest.fixture(scope="module")
def expected(ray_local, tmp_path_factory) -> str:
    return store_of(tmp_path_factory.mktemp("expected"), [(write_json, READ)], random.Random(0), {})


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_the_same_pairs_give_the_same_bytes(expected, data):
    chance = random.Random(data.draw(st.integers(0, 2**32), "order"))
    pairs = chance.sample(READ, len(READ))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(pairs)), max_size=5), "cuts"))
    pieces = [pairs[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(pairs)], strict=True)]
    writers = st.sampled_from([write_json, write_parquet, write_tsv])
    written = [(data.draw(writers), piece) for piece in pieces if piece]
    most = {
        (sort, "RUN_BYTES"): data.draw(st.integers(500, 2**14), "bytes of a run"),
        (units, "SMALLEST_UNIT"): data.draw(st.integers(64, 2**12), "bytes of a unit"),
    }
    with tempfile.TemporaryDirectory() as folder:
        store = store_of(Path(folder), written, chance, most)
        assert files(store) == files(expected)
        source = open_store(store).source("pairs")
    assert (source.read, source.dropped) == (len(READ), {"duplicate": 30})


def test_no_pair_is_lost_and_none_is_there_twice(expected):
    store = open_store(expected)
    source = store.source("pairs")
    train, held_out = rows_of(store, "pairs"), store.read_held_out("pairs", 10**6)
    assert pairs_of(train) | pairs_of(held_out) == set(PAIRS)
    assert len(train) + len(held_out) == len(PAIRS) == len(set(PAIRS))
    assert len(source.parts) > 3 and source.held_out > 5
