"""Patterns against Python's own glob, on trees of arbitrary names."""

import glob
import os
import tempfile
from pathlib import Path

import fsspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyarrow import fs

from gte_ray.errors import RunError
from gte_ray.runtime.listing import matches

LOCAL = fs.LocalFileSystem()
NAMES = st.text("ab.[]!-*?{},% ü", min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))
PARTS = st.one_of(
    st.sampled_from(["**", "*", "?*", "[!a]*", "[a-b]?", ".*", "*.b", "[]", "[9-0]"]),
    st.text("ab.[]!-*? ", min_size=1, max_size=4).filter(lambda part: part not in (".", "..")),
)


def tree(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
        path.write_text(name)


def of_python(folder: Path, pattern: str) -> list[str]:
    found = glob.glob(pattern, root_dir=folder, recursive=True)
    return sorted({os.path.normpath(path) for path in found if (folder / path).is_file()})


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(NAMES, min_size=1, max_size=3), max_size=8), st.lists(PARTS, min_size=1, max_size=3))
@example([["-"], ["a", "b"]], ["-", "**"])
@example([["a", "-"]], ["**", "-", "**"])
def test_same_files_as_python_s_glob(paths, parts):
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for path in paths:
            try:
                tree(folder, "/".join(path))
            except (FileExistsError, IsADirectoryError, NotADirectoryError):
                continue  # a folder where a file is, or the other way about
        names = {name for _, folders, files in os.walk(folder) for name in (*folders, *files)}
        by_name = [part for part in parts if part in names and glob.has_magic(part)]
        found = list(matches(LOCAL, scratch, "/".join(parts)))
        if not by_name:  # what has the very name of the pattern is meant; Python's glob wants it escaped
            assert found == of_python(folder, "/".join(parts))
        assert all((folder / path).is_file() for path in found)


@pytest.mark.parametrize("name", ["part[1].jsonl", "a?.jsonl", "*.jsonl", "[!x].jsonl", "a b#%41.jsonl"])
def test_what_has_the_very_name_of_the_pattern_is_meant(tmp_path, name):
    tree(tmp_path, f"[2024] crawl/{name}", "[2024] crawl/other.jsonl", "2 crawl/a.jsonl")
    assert list(matches(LOCAL, str(tmp_path), f"[2024] crawl/{name}")) == [f"[2024] crawl/{name}"]
    assert len(matches(LOCAL, str(tmp_path), "[2024] crawl/*l")) == 2
    assert list(matches(LOCAL, str(tmp_path), glob.escape(f"[2024] crawl/{name}"))) == [
        f"[2024] crawl/{name}"
    ]


def test_file_systems_of_fsspec_too():
    """As that of the Hugging Face hub."""
    memory = fsspec.filesystem("memory")
    for name in ("u/a[1]/x.jsonl", "u/.h/y.jsonl", "u/b/c/z.jsonl", "u/w.jsonl"):
        memory.makedirs(f"/listing/{name.rpartition('/')[0]}", exist_ok=True)
        memory.pipe(f"/listing/{name}", b"")
    found = fs.PyFileSystem(fs.FSSpecHandler(memory))
    assert list(matches(found, "/listing", "u/**/*.jsonl")) == [
        "u/a[1]/x.jsonl",
        "u/b/c/z.jsonl",
        "u/w.jsonl",
    ]
    for pattern in ("u/*/*.jsonl", "u/a[1]/*"):
        assert list(matches(found, "/listing", pattern)) == ["u/a[1]/x.jsonl"]
    assert list(matches(found, "/listing", "u/w.jsonl/*")) == []


def test_a_link_that_goes_round_is_not_followed(tmp_path):
    tree(tmp_path, "a.jsonl", "sub/b.jsonl", "elsewhere/c.jsonl")
    (tmp_path / "sub/loop").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "sub/link").symlink_to(tmp_path / "elsewhere")
    found = list(matches(LOCAL, str(tmp_path), "**/*.jsonl"))
    assert found == ["a.jsonl", "elsewhere/c.jsonl", "sub/b.jsonl", "sub/link/c.jsonl"]
    assert set(found) < set(of_python(tmp_path, "**/*.jsonl"))  # which follows it forty times
    assert list(matches(LOCAL, str(tmp_path), "sub/loop/sub/*.jsonl")) == ["sub/loop/sub/b.jsonl"]


def test_a_link_that_leads_nowhere_is_a_file_and_a_pipe_is_none(tmp_path):
    (tmp_path / "gone.jsonl").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert list(matches(LOCAL, str(tmp_path), "*.jsonl")) == ["gone.jsonl"]


def test_a_name_that_is_not_utf_8_is_refused(tmp_path):
    Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.jsonl")).write_text("")
    with pytest.raises(RunError, match=r"caf\\udce9.jsonl': a file whose name is not UTF-8"):
        matches(LOCAL, str(tmp_path), "*.jsonl")


@pytest.mark.parametrize("mode", [0o000, 0o444], ids=["unreadable", "names only"])
def test_a_folder_that_may_not_be_read_is_told(mode):
    with tempfile.TemporaryDirectory() as scratch:
        os.chmod(scratch, 0o755)
        tree(Path(scratch), "closed/a.jsonl", "open/b.jsonl")
        os.chmod(f"{scratch}/closed", mode)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # root may read all
        try:
            with pytest.raises(OSError, match=r"Permission denied: '.*closed"):
                matches(LOCAL, scratch, "*/*.jsonl")
            assert list(matches(LOCAL, scratch, "open/*.jsonl")) == ["open/b.jsonl"]
        finally:
            os.seteuid(user)
            os.chmod(f"{scratch}/closed", 0o755)
