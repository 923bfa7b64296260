"""7z archives as streams: members that are not wanted cost nothing, a reader that stops early leaves nothing behind."""

import io
import os
import sys
import threading

import py7zr
import pytest

from gte_ray.data.prepare_store import prepare
from gte_ray.errors import RunError
from gte_ray.readers.join import Join
from gte_ray.readers.preview import preview
from gte_ray.readers.reading import Reading
from gte_ray.readers.seven_zip import seven_zip_members
from gte_ray.readers.spec import SourceSpec
from tests.data.preparing import pairs_of
from tests.readers.reading import read_as

LARGE = b"0123456789" * 200_000


def archive(path, files: dict[str, bytes]):
    with py7zr.SevenZipFile(path, "w") as content:
        for name, data in files.items():
            content.writestr(data, name)
    return path


def opened(path) -> io.BufferedReader:
    return open(path, "rb")


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "7z"]


def test_names_come_first_and_contents_in_order(tmp_path):
    path = archive(tmp_path / "a.7z", {"a.txt": b"a", "b/c.xml": LARGE, "d.txt": b"", "e.xml": b"e"})
    with opened(path) as file:
        found = [(name, content and content.read()) for name, content in _wanting(file, ".xml")]
    assert found == [("a.txt", None), ("d.txt", None), ("b/c.xml", LARGE), ("e.xml", b"e")]


def _wanting(file, suffix: str):
    return seven_zip_members(file, lambda name: name.endswith(suffix), "a.7z")


def test_of_a_member_any_part_may_be_read(tmp_path):
    path = archive(tmp_path / "a.7z", {"a": LARGE, "b": LARGE, "c": b"end"})
    with opened(path) as file:
        assert [content.read(5) for _, content in _wanting(file, "")] == [b"01234", b"01234", b"end"]
    assert threads() == []


def test_equal_names_and_folders_of_the_working_directory_do_not_matter(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "x").symlink_to(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    with py7zr.SevenZipFile(tmp_path / "a.7z", "w") as content:
        for data in (b"first", b"second"):
            content.writestr(data, "x/a.jsonl")
    with opened(tmp_path / "a.7z") as file:
        found = [(name, content.read()) for name, content in _wanting(file, ".jsonl")]
    assert found == [("x/a.jsonl", b"first"), ("x/a.jsonl", b"second")]


def test_a_reader_that_stops_early_ends_the_work(tmp_path):
    """What is left of a large member is not decompressed."""
    with py7zr.SevenZipFile(tmp_path / "a.7z", "w", filters=[{"id": py7zr.FILTER_COPY}]) as written:
        written.writestr(bytes(2**28), "a")
    with opened(tmp_path / "a.7z") as file:
        found = _wanting(file, "")
        _, content = next(found)
        content.read(1)
        found.close()
        assert file.tell() < 2**28


@pytest.mark.parametrize("members", [1, 2])
def test_a_reader_that_stops_early_leaves_no_thread_and_no_descriptor(tmp_path, members):
    path = archive(tmp_path / "a.7z", {"a": LARGE, "b": LARGE, "c": LARGE})
    before = len(os.listdir("/proc/self/fd"))
    with opened(path) as file:
        found = _wanting(file, "")
        for _ in range(members):
            next(found)
        found.close()
    assert threads() == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_damaged_is_told_by_the_reader_of_the_member(tmp_path):
    path = archive(tmp_path / "a.7z", {"a": os.urandom(2**20)})
    content = bytearray(path.read_bytes())
    content[2**19] ^= 1
    path.write_bytes(content)
    with opened(path) as file, pytest.raises(OSError, match="damaged or cut off"):
        for _, member in _wanting(file, ""):
            member.read()
    assert threads() == []


def test_what_it_needs_is_told(tmp_path, monkeypatch):
    path = archive(tmp_path / "a.7z", {"a.jsonl": b"{}"})
    monkeypatch.setitem(sys.modules, "py7zr", None)
    with pytest.raises(RunError, match=r"a\.7z: needs the package py7zr .*'gte_ray\[7z\]'"):
        read_as(path, Reading())


def posts(site: str) -> bytes:
    return f"""<posts>
<row Id="1" PostTypeId="1" AcceptedAnswerId="2" Title="How in {site}?" Body="&lt;p&gt;Tell&lt;/p&gt;" />
<row Id="2" PostTypeId="2" ParentId="1" Body="&lt;p&gt;So in {site}&lt;/p&gt;" />
</posts>""".encode()


def test_dumps_of_several_sites_are_joined_each_with_itself(ray_local, tmp_path):
    """Ids are those of a site: the archive's name is part of the key, and splits the source."""
    for site in ("superuser.com", "tex.stackexchange.com"):
        archive(tmp_path / f"{site}.7z", {"Badges.xml": b"<badges/>", "Posts.xml": posts(site)})
    dumps = {"members": "Posts.xml", "rows": "row"}
    files = str(tmp_path / "*.7z")
    source = SourceSpec(
        "stackexchange",
        files,
        "community-qa",
        Reading(
            "{Title}\n{Body|plain}",
            "answer.Body|plain",
            where="PostTypeId == 1",
            split_by="@folder|before:.7z",
            **dumps,
        ),
        joins=(
            Join("answer", files, "{@folder} {AcceptedAnswerId}", "{@folder} {Id}", reading=Reading(**dumps)),
        ),
    )
    assert [pair[:2] for pair in preview(source, 3).pairs] == [
        ("How in superuser.com?\nTell", "So in superuser.com")
    ]
    store = prepare(str(tmp_path / "store"), [source], held_out_share=0)
    found = {
        info.name: pairs_of(store.read_rows(info.name, 0, info.rows, ["query", "document"]))
        for info in store.manifest.sources
    }
    assert {name: list(pairs) for name, pairs in found.items()} == {
        f"stackexchange.{site}": [(f"How in {site}?\nTell", f"So in {site}")]
        for site in ("superuser.com", "tex.stackexchange.com")
    }
