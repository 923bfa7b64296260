"""URIs as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs

from gte_ray.runtime import uri
from gte_ray.runtime.uri import parse

OPTIONS = "?region=eu-west-1&endpoint_override=http://127.0.0.1:9000"


@pytest.mark.parametrize(
    ("text", "root", "path", "options"),
    [
        ("/a/100%20 b?c#d", "", "/a/100%20 b?c#d", ""),
        ("s3://b/a%20b/c d", "s3://b", "/a b/c d", ""),
        (f"s3://b/a?b{OPTIONS}", "s3://b", "/a?b", OPTIONS),
        (f"s3://b{OPTIONS}", "s3://b", "", OPTIONS),
        ("s3://k:s%2F@b/p?rt=1/x", "s3://k:s%2F@b", "/p?rt=1/x", ""),
        ("gs://b/x?region=1", "gs://b", "/x?region=1", ""),
        ("file:///a%25/b?region=1#c", "file://", "/a%/b?region=1#c", ""),
        ("hdfs://h:8020/x?user=me", "hdfs://h:8020", "/x", "?user=me"),
        ("hf://datasets/u/d@refs%2Fx/a?b", "hf://datasets", "/u/d@refs%2Fx/a?b", ""),
    ],
)
def test_parts(text, root, path, options):
    assert parse(text) == (root, path, options)
    assert parse(str(parse(text))) == parse(text)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1))
def test_arrow_finds_the_very_name_that_was_joined(name):
    if name not in (".", ".."):
        text = uri.join("file:///a b/c%20d/", name)
        assert fs.FileSystem.from_uri(text)[1] == f"/a b/c d/{name}"
        assert uri.name(text) == uri.name(f"/x/{name}") == name


def test_joining_keeps_options_behind_the_path():
    joined = uri.join(f"s3://b/x{OPTIONS}", "a%20b", "m.json")
    assert joined == f"s3://b/x/a%2520b/m.json{OPTIONS}"
    assert uri.beside(f"s3://b/x/run 1/{OPTIONS}", ".lock") == f"s3://b/x/run%201.lock{OPTIONS}"
    assert uri.name(joined) == "m.json"
    assert uri.join("runs/", "a%20b") == "runs/a%20b" and uri.join("s3://b", "x") == "s3://b/x"
