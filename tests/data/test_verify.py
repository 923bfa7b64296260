"""What has happened to a store since it was prepared is found and told where it is."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gte_ray.data.prepare_store import prepare
from gte_ray.data.store import Store, open_store
from gte_ray.data.verify import Verified, verify
from gte_ray.errors import RunError
from gte_ray.readers.spec import SourceSpec
from tests.data.conftest import make_pairs, write_lines

pytestmark = pytest.mark.usefixtures("ray_local")


@pytest.fixture(scope="module")
def prepared(ray_local, tmp_path_factory) -> Store:
    """A source of four parts."""
    folder = tmp_path_factory.mktemp("verified")
    path = write_lines(folder / "pairs.jsonl", make_pairs(1_000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gte_ray.data.prepare_store.PART_ROWS", 300)
        return prepare(str(folder / "store"), [SourceSpec("pairs", str(path), "code")])


def check(uri: str) -> Verified:
    return verify(open_store(uri, check=False), lambda phase, pairs: None)


def test_a_store_as_it_was_written(prepared):
    assert check(prepared.uri) == Verified(8, 1_000)


def changed(prepared: Store, folder: Path, change) -> tuple[str, str]:
    """A copy with another second part, and where that is."""
    uri = shutil.copytree(prepared.uri, folder / "copy")
    path = Path(uri, prepared.source("pairs").parts[1].path)
    pq.write_table(change(pq.read_table(path)), path)
    return str(uri), str(path)


def set_query(table: pa.Table, row: int, text: str) -> pa.Table:
    queries = table["query"].to_pylist()
    queries[row] = text
    return table.set_column(0, "query", pa.array(queries, pa.large_string()))


CHANGES = {
    "a text": (lambda table: set_query(table, 7, "other"), "the query of row 7 has another hash"),
    "an order": (lambda table: table.take([0, 2, 1, *range(3, len(table))]), "row 2 is not in the order"),
    "a row": (lambda table: table.slice(1), "rows where the manifest says"),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_what_was_changed_is_told(prepared, tmp_path, change, message):
    uri, path = changed(prepared, tmp_path, change)
    with pytest.raises(RunError, match=message) as caught:
        check(uri)
    assert str(caught.value).startswith(path)


def test_parts_that_were_exchanged_are_told(prepared, tmp_path):
    """The last part begins with the first row of the first one."""
    uri = Path(shutil.copytree(prepared.uri, tmp_path / "copy"))
    first, *_, last = (Path(uri, part.path) for part in prepared.source("pairs").parts)
    pq.write_table(pa.concat_tables([pq.read_table(first).slice(0, 1), pq.read_table(last).slice(1)]), last)
    with pytest.raises(RunError, match=f"{last}: begins before the part in front of it ends"):
        check(str(uri))


def test_a_bit_that_changed_in_any_column_is_told(prepared, tmp_path):
    """Footer and lengths of pages aside: the content of each column, by the checksums of its pages."""
    uri = shutil.copytree(prepared.uri, tmp_path / "copy")
    path = Path(uri, prepared.source("pairs").parts[2].path)
    whole, metadata = path.read_bytes(), pq.read_metadata(path)
    for column in range(metadata.num_columns):
        chunk = metadata.row_group(0).column(column)
        position = chunk.data_page_offset + chunk.total_compressed_size - 3
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        with pytest.raises(RunError, match=f"{path}: cannot be read"):
            check(str(uri))
    path.write_bytes(whole)
    assert check(str(uri)) == Verified(8, 1_000)
