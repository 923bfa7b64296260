"""Files on a local disk and in a bucket, by the same calls."""

import pickle

import pytest
from pyarrow import fs

from gte_ray.data.manifest import Manifest, Part, SourceInfo
from gte_ray.data.store import open_store
from gte_ray.errors import RunError, UsageError
from gte_ray.runtime import filesystems, storage


@pytest.fixture(params=["disk", "s3"])
def place(request, tmp_path) -> str:
    """A folder that does not exist yet."""
    if request.param == "disk":
        return str(tmp_path / "place")
    request.getfixturevalue("bucket")
    return f"s3://bucket/{tmp_path.name}"


def test_a_file_is_written_read_and_deleted(place):
    path = f"{place}/a/b.json"
    assert not storage.exists(place)
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(path)
    storage.write_json(path, {"ä": 1})
    storage.write_json(path, {"ä": 2})
    assert storage.read_json(path) == {"ä": 2}
    assert storage.folders(place) == ["a"] and storage.folders(f"{place}/none") == []
    storage.delete(place)
    storage.delete(place)
    assert not storage.exists(path)


def test_globs_give_names_that_can_be_read(place):
    for name in ("1.json", "a/2.json", "a/b/3.json", "a/b/3.txt"):
        storage.write_bytes(f"{place}/{name}", name.encode())
    found = storage.glob(f"{place}/**/*.json")
    assert [storage.read_bytes(file.uri).decode() for file in found] == ["1.json", "a/2.json", "a/b/3.json"]
    (file,) = storage.glob(f"{place}/a/*.json")
    assert (file.uri, file.size) == (f"{place}/a/2.json", len("a/2.json"))
    assert file[1:] == storage.stamps([file.uri])[0][1:]
    assert storage.sizes(f"{place}/a") == {"2.json": 8, "b/3.json": 10, "b/3.txt": 9}
    assert storage.glob(f"{place}/none/*") == []


def test_folders_and_files_go_there_and_back(place, tmp_path):
    folder = tmp_path / "here"
    storage.write_bytes(str(folder / "a/b.txt"), b"one")
    storage.upload(str(folder), f"{place}/there")
    storage.upload_file(str(folder / "a/b.txt"), f"{place}/c.txt")
    storage.download_file(f"{place}/c.txt", str(tmp_path / "c.txt"))
    assert (tmp_path / "c.txt").read_bytes() == b"one"
    with storage.local_folder(f"{place}/there") as local:
        assert storage.read_bytes(f"{local}/a/b.txt") == b"one"
    before = storage.stamps([f"{place}/c.txt"])
    assert before == storage.stamps([f"{place}/c.txt"])
    storage.write_bytes(f"{place}/c.txt", b"other")
    assert before != storage.stamps([f"{place}/c.txt"])


def test_a_place_that_does_not_answer_is_told_to_a_command_that_begins(bucket):
    """The file system itself is patient, which the cluster's tests show, also where Ray sends it."""
    uri = "s3://bucket/outage.txt"
    storage.check_reachable(uri)
    filesystem, _ = storage.resolve(uri)
    assert type(pickle.loads(pickle.dumps(filesystem))) is type(filesystem) is not fs.S3FileSystem
    bucket.stop()
    try:
        with pytest.raises(RunError, match=r"outage.txt: cannot be reached \(.*Could not connect"):
            storage.check_reachable(uri)
    finally:
        bucket.start()


def test_a_bucket_whose_region_is_asked_for_in_an_outage(bucket, monkeypatch):
    """Where no endpoint is given, Arrow asks AWS in which region a bucket is, and gives up soon."""
    found, asked = filesystems.open_filesystem, []

    def away(uri: str):
        asked.append(uri)
        if len(asked) < 4:
            raise OSError("When resolving region for bucket 'bucket': AWS Error NETWORK_CONNECTION")
        return found(uri)

    monkeypatch.setattr(filesystems, "open_filesystem", away)
    with pytest.raises(RunError, match=r"s3://outage/a: cannot be reached \(.*NETWORK_CONNECTION"):
        storage.check_reachable("s3://outage/a")
    assert storage.resolve("s3://outage/a")[1] == "outage/a"
    assert len(asked) == 4


def test_a_process_has_one_client_for_a_bucket(bucket, monkeypatch):
    first = storage.resolve("s3://bucket/a")[0]
    assert storage.resolve("s3://bucket/b/c")[0] is first
    assert storage.resolve("s3://other/a")[0] is not first
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    assert storage.resolve("s3://bucket/a")[0] is not first


def test_opening_a_store_of_many_parts_asks_a_bucket_for_little(bucket):
    """The manifest, and a listing of 1,000 names a request, whatever the number of parts."""
    parts = [Part(f"s-0/part-{number:05}.parquet", 1, 1) for number in range(2_500)]
    info = SourceInfo("s", "code", 2_500, 0, 2_500, {}, "", "", "", tuple(parts), ())
    for part in parts:
        bucket.put(f"many/{part.path}", b"x")
    storage.write_json("s3://bucket/many/manifest.json", Manifest(0, 0.0, (info,)).to_dict())
    with bucket.counted() as requests:
        assert open_store("s3://bucket/many").manifest.sources == (info,)
    assert len(requests) <= 7
    bucket.put(f"many/{parts[1_234].path}", b"xx")
    with pytest.raises(RunError, match=f"{parts[1_234].path}: has 2 bytes where the manifest says 1;"):
        open_store("s3://bucket/many")


def test_a_bucket_that_is_none_is_told_at_once(monkeypatch):
    def none(uri: str):
        raise OSError("Bucket 'none' not found")

    monkeypatch.setattr(filesystems, "open_filesystem", none)
    with pytest.raises(OSError, match=r"s3://none/a: cannot be reached \(Bucket 'none' not found\)"):
        storage.resolve("s3://none/a")


def test_a_file_that_cannot_be_written_over_stays_as_it_was(tmp_path):
    path = tmp_path / "record.json"
    found = pickle.loads(pickle.dumps(storage.whole_files(storage.resolve(str(path))[0])))
    with found.open_output_stream(str(path)) as stream:
        stream.write(b"first")
    with pytest.raises(OSError, match="full"), found.open_output_stream(str(path)) as stream:
        stream.write(b"sec")
        raise OSError("full")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_is_none():
    with pytest.raises(UsageError, match=r"ftp://x: not a location that can be opened .* s3://"):
        storage.resolve("ftp://x")


def test_a_line_that_was_cut_off_does_not_take_the_next_one_with_it(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b"[1]\n[2")
    with open(path, "a+b", buffering=0) as file:
        storage.append_lines(file, b"[3]\n[4]\n")
        storage.append_lines(file, b"[5]\n")
    assert path.read_bytes() == b"[1]\n[2\n[3]\n[4]\n[5]\n"


AWKWARD = ("a b", "ü", "dt=2022-01-01%2000%3A00+01", "p%61rt", "part", "a#1", "a?b", "a[1]", "a (1)", "x&y", "a:@+,~", "%2F")  # fmt: skip


def test_each_file_of_a_listing_can_be_opened_whatever_its_name(place):
    folder = storage.join(place, "f #?%41[1]")
    for number, name in enumerate(AWKWARD):
        storage.write_bytes(storage.join(folder, str(number), f"{name}.json"), name.encode())
    found = [storage.glob(storage.join(folder, "*", f"*{name}.json")) for name in ("", "a[?]b", "[!a]ü")]
    assert sorted(storage.read_bytes(file.uri).decode() for file in found[0]) == sorted(AWKWARD)
    assert [len(uris) for uris in found] == [len(AWKWARD), 1, 0]
    assert storage.glob(storage.join(folder, "**", "*.json")) == found[0]
    assert [storage.name(file.uri) for file in found[0]] == [
        f"{AWKWARD[number]}.json" for number in sorted(range(len(AWKWARD)), key=str)
    ]


def test_a_uri_with_options_lists_and_joins(bucket):
    endpoint = bucket.environment["AWS_ENDPOINT_URL"].removeprefix("http://")
    options = f"?region=us-east-1&scheme=http&endpoint_override={endpoint}"
    storage.write_bytes(storage.join(f"s3://bucket/options/a?b{options}", "c.jsonl"), b"here")
    (found,) = storage.glob(f"s3://bucket/options/*/?.jsonl{options}")
    assert found.uri == f"s3://bucket/options/a%3Fb/c.jsonl{options}"
    assert storage.read_bytes(found.uri) == storage.read_bytes("s3://bucket/options/a?b/c.jsonl") == b"here"


def test_keys_that_arrow_cannot_open_are_told(bucket):
    import boto3

    client = boto3.client("s3")
    for key in ("slashes/a/b.json", "slashes//c.json"):
        client.put_object(Bucket="bucket", Key=key, Body=b"")
    with pytest.raises(RunError, match="bucket/slashes/: holds objects with // in their keys"):
        storage.glob("s3://bucket/slashes/**/*.json")
    assert [file.uri for file in storage.glob("s3://bucket/slashes/a/*.json")] == [
        "s3://bucket/slashes/a/b.json"
    ]
