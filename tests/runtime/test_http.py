"""Files at addresses: the bytes of the file, whatever breaks on the way, or a sentence."""

import gzip
import json
import pickle
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gte_ray.data.prepare_store import prepare
from gte_ray.errors import RunError
from gte_ray.readers.preview import preview
from gte_ray.readers.spec import SourceSpec
from gte_ray.runtime import http, storage
from tests.data.conftest import make_pairs
from tests.data.preparing import pairs_of, rows_of


class Files(BaseHTTPRequestHandler):
    """Serves `files`, and misbehaves as `faults` say, a fault for each request."""

    files: dict[str, bytes] = {}  # noqa: RUF012
    faults: list[str] = []  # noqa: RUF012
    asked: list[str] = []  # noqa: RUF012
    ranges = True

    def do_GET(self):
        content = self.files.get(self.path)
        fault = self.faults.pop(0) if self.faults else ""
        asked = self.headers.get("Range", "")
        self.asked.append(asked)
        if fault.isdigit() or content is None:
            self.send_error(int(fault or 404))
            return
        tag = f'"{hash(content)}"'
        first, last = map(int, asked.removeprefix("bytes=").split("-"))
        if not self.ranges or self.headers.get("If-Range", tag) != tag:
            self.answer(200, content, {"ETag": tag})
        elif first >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
        else:
            part = content[first : last + 1]
            place = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
            self.answer(206, part, {"ETag": tag, "Content-Range": place}, cut=fault == "cut")

    def answer(self, status: int, content: bytes, headers: dict[str, str], cut: bool = False):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[str]:
    """Its address. Requests are small and tried again at once."""
    for name, value in {"FIRST_WAIT": 0.0, "RANGE_BYTES": 1_000, "SEEK_BYTES": 100}.items():
        monkeypatch.setattr(http, name, value)
    for name, value in {"files": {}, "faults": [], "asked": [], "ranges": True}.items():
        monkeypatch.setattr(Files, name, value)
    running = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


CONTENT = bytes(range(256)) * 40


@pytest.mark.parametrize("faults", [[], ["", "cut"], ["503", "cut", "429", "cut", "cut"], ["", *["500"] * 6]])
def test_all_bytes_arrive_whatever_breaks(server, faults):
    Files.files["/a.bin"] = CONTENT
    Files.faults[:] = faults
    assert storage.read_bytes(f"{server}/a.bin") == CONTENT
    assert not Files.faults


def test_any_part_can_be_read_and_few_bytes_are_asked_for(server):
    Files.files["/a.bin"] = CONTENT
    filesystem, path = pickle.loads(pickle.dumps(storage.resolve(f"{server}/a.bin")))
    with filesystem.open_input_file(path) as file:
        assert file.size() == len(CONTENT)
        assert file.read_at(50, 5_000) == CONTENT[5_000:5_050]
        assert file.read_at(50, 5_050) == CONTENT[5_050:5_100]
        assert file.read_at(50, len(CONTENT) - 20) == CONTENT[-20:]
        assert file.read_at(3_000, 10) == CONTENT[10:3_010]
    asked = [tuple(map(int, text.removeprefix("bytes=").split("-"))) for text in Files.asked]
    assert asked[:3] == [(0, 0), (5_000, 5_099), (len(CONTENT) - 20, len(CONTENT) - 1)]
    assert all(last - first < 1_000 for first, last in asked)


def test_a_listing_has_the_one_file_with_its_size(server):
    Files.files |= {"/x/a%20b.jsonl?download=1": b"[]", "/empty.jsonl": b""}
    (stamp,) = storage.glob(f"{server}/x/a b.jsonl?download=1")
    assert (stamp.uri, stamp.size) == (f"{server}/x/a%20b.jsonl?download=1", 2)
    assert storage.name(stamp.uri) == "a b.jsonl"
    Files.files["/x/a%20b.jsonl?download=1"] = b"{}"
    assert storage.glob(stamp.uri)[0].mtime_ns != stamp.mtime_ns
    assert [stamp.size for stamp in storage.glob(f"{server}/empty.jsonl")] == [0]
    assert storage.glob(f"{server}/none.jsonl") == [] and not storage.exists(f"{server}/none.jsonl")
    with pytest.raises(RunError, match="files of a server cannot be listed; name one file"):
        storage.glob(f"{server}/*.jsonl")


def test_a_file_that_changes_meanwhile_is_told(server):
    Files.files["/a.bin"] = CONTENT
    filesystem, path = storage.resolve(f"{server}/a.bin")
    with filesystem.open_input_file(path) as file:
        file.read(10)
        Files.files["/a.bin"] = CONTENT[::-1]
        with pytest.raises(OSError, match="the file changed while it was read"):
            file.read_at(10, 9_000)


@pytest.mark.parametrize(
    ("faults", "ranges", "message"),
    [
        (["403"], True, "the server answers 403 Forbidden"),
        (["503"] * 9, True, "the server answers 503"),
        (["", *["cut"] * 9], True, r"the connection broke \(IncompleteRead\)"),
        ([], False, "the server sends no ranges of files; download the file and name it"),
    ],
)
def test_what_cannot_be_read_is_told(server, faults, ranges, message):
    Files.files["/a.bin"] = CONTENT
    Files.faults[:], Files.ranges = faults, ranges
    with pytest.raises(OSError, match=message):
        storage.read_bytes(f"{server}/a.bin")


def test_a_server_that_is_not_there(monkeypatch):
    monkeypatch.setattr(http, "FIRST_WAIT", 0.0)
    with pytest.raises(
        RunError, match=r"source a: http://127.0.0.1:9/a.jsonl cannot be listed \(.*cannot be reached"
    ):
        SourceSpec("a", "http://127.0.0.1:9/a.jsonl", "code").files()


def test_nothing_is_written(server):
    with pytest.raises(RunError, match="can be read, not written; write to a local path or a bucket"):
        storage.write_json(f"{server}/a.json", {})


@pytest.mark.usefixtures("ray_local")
def test_sources_of_a_server_are_those_of_the_files(server, tmp_path):
    pairs = make_pairs(300)
    lines = "".join(json.dumps(list(pair)) + "\n" for pair in pairs).encode()
    table = pa.table({"query": [q for q, _ in pairs], "document": [d for _, d in pairs]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=50)
    Files.files |= {
        "/p.jsonl.gz": gzip.compress(lines),
        "/p.jsonl": lines,
        "/p.parquet": sink.getvalue().to_pybytes(),
    }
    names = {"zipped": "p.jsonl.gz", "plain": "p.jsonl", "parquet": "p.parquet"}
    specs = [SourceSpec(name, f"{server}/{file}", "code") for name, file in names.items()]
    assert [pair[:2] for pair in preview(specs[0], 2).pairs] == pairs[:2]
    store = prepare(str(tmp_path / "store"), specs, held_out_share=0.0)
    assert all(pairs_of(rows_of(store, name)) == set(pairs) for name in names)
    calls: list[str] = []
    prepare(store.uri, specs, report=lambda phase, rows: calls.append(phase))
    assert calls == []
