"""Files of web crawls, written by warcio: pages and texts to rows, what is no page, and files that end too soon."""

import gzip
import io
import re
import sys
import zlib
from pathlib import Path

import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from gte_ray.errors import RunError
from gte_ray.readers import warc_rows
from gte_ray.readers.reading import Reading
from tests.readers.reading import read_as

PAGE = """<html><head><title> Larches &amp; stones </title><script>var x = 1</script></head><body>
<nav><a href="/">home</a> <a href="/b">menu</a></nav>
<article><h1>Larches</h1><p>A larch is a conifer that drops its needles in autumn, unlike the others of its family.</p>
<p>Its timber lasts long in the open, and sheds are built of it in many places.</p></article></body></html>"""


class Crawl:
    """A WARC file in memory."""

    def __init__(self, compressed=True):
        self.bytes = io.BytesIO()
        self.writer = WARCWriter(self.bytes, gzip=compressed)
        self.writer.write_record(self.writer.create_warcinfo_record("a.warc", {"software": "test"}))

    def page(self, address, content, status="200 OK", kind="text/html; charset=utf-8", **headers):
        named = [
            ("Content-Type", kind),
            *((name.replace("_", "-"), value) for name, value in headers.items()),
        ]
        head = StatusAndHeaders(status, named, protocol="HTTP/1.1")
        record = self.writer.create_warc_record(
            address, "response", payload=io.BytesIO(content), http_headers=head
        )
        self.writer.write_record(record)
        request = StatusAndHeaders("GET / HTTP/1.1", [("Host", "a.example")], is_http_request=True)
        self.writer.write_record(self.writer.create_warc_record(address, "request", http_headers=request))
        return self

    def text(self, address, text):
        record = self.writer.create_warc_record(
            address, "conversion", payload=io.BytesIO(text.encode()), warc_content_type="text/plain"
        )
        self.writer.write_record(record)
        return self

    def write(self, path: Path, upto=None):
        path.write_bytes(self.bytes.getvalue()[:upto])
        return str(path)


def read(uri, **settings):
    found = read_as(uri, Reading(**settings))
    return [pair[:2] for pair in found.pairs], sum(found.dropped.values()), found.unused


def raw_deflate(content):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


def chunks(content, size=100):
    parts = [content[start : start + size] for start in range(0, len(content), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def test_a_page_gives_its_title_and_its_main_text(tmp_path):
    crawl = Crawl().page("http://a.example/larch", PAGE.encode())
    crawl.page(
        "http://a.example/latin",
        PAGE.replace("Larches", "Lärchen").encode("latin-1"),
        kind="text/html; charset=iso-8859-1",
    )
    crawl.page("http://a.example/packed", gzip.compress(PAGE.encode()), Content_Encoding="gzip")
    crawl.page("http://a.example/unpacked", PAGE.encode(), Content_Encoding="gzip")
    for packed in (zlib.compress(PAGE.encode()), raw_deflate(PAGE.encode())):
        crawl.page("http://a.example/deflated", packed, Content_Encoding="deflate")
    crawl.page("http://a.example/chunks", chunks(PAGE.encode()), Transfer_Encoding="chunked")
    both = {"Transfer_Encoding": "chunked", "Content_Encoding": "gzip"}
    crawl.page("http://a.example/both", chunks(gzip.compress(PAGE.encode())), **both)
    crawl.page("http://a.example/joined", PAGE.encode(), Transfer_Encoding="chunked")
    for charset in ("none", "utf8mb4", "$charset", "hex"):
        crawl.page("http://a.example/odd", PAGE.encode(), kind=f"Text/HTML; charset={charset}")
    pairs, drops, unused = read(crawl.write(tmp_path / "a.warc.gz"))
    assert [title for title, _ in pairs] == [
        "Larches & stones",
        "Lärchen & stones",
        *["Larches & stones"] * 11,
    ]
    for _, text in pairs:
        assert "drops its needles" in text and "Its timber lasts" in text
        assert not re.search("var x|menu|<p>|home", text)
    assert drops == 0 and set(unused) == {"url", "date", "status", "content_type"}


def test_texts_give_their_first_line_and_the_others(tmp_path):
    crawl = Crawl().text("http://a.example/x", "Garden sheds\nSheds are built of larch.\nThey last.\n")
    uri = crawl.text("http://a.example/y", "one line alone\n").write(tmp_path / "a.wet.gz")
    pairs, drops, _ = read(uri, query="title", document="text")
    assert pairs == [("Garden sheds", "Sheds are built of larch.\nThey last.")] and drops == 1
    pairs, _, _ = read(uri, query="{title} ({url})", document="text|first-line", where="words(text) > 2")
    assert pairs == [("Garden sheds (http://a.example/x)", "Sheds are built of larch.")]


def test_what_is_no_page_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(warc_rows, "LARGEST_PAGE", 2_000)
    crawl = Crawl(compressed=False).page("http://a.example/gone", PAGE.encode(), status="404 Not Found")
    crawl.page("http://a.example/picture", b"\x89PNG", kind="image/png")
    crawl.page("http://a.example/long", PAGE.encode() * 9)
    crawl.page("http://a.example/bomb", gzip.compress(b"<p>" + b"a" * 10**7), Content_Encoding="gzip")
    crawl.page("http://a.example/unknown", b"\x8b\x07<p>\x02", Content_Encoding="br")
    address = crawl.writer.create_warc_record(
        "dns:a.example",
        "response",
        payload=io.BytesIO(b"20200101\nexample.com. 300 IN A 1.2.3.4"),
        warc_content_type="text/dns",
    )
    crawl.writer.write_record(address)
    crawl.page("http://a.example/page", PAGE.encode())
    pairs, drops, _ = read(crawl.write(tmp_path / "a.warc"), query="title", document="text")
    assert len(pairs) == 1 and drops == 6
    pairs, _, _ = read(str(tmp_path / "a.warc"), query="url", document="content_type", where="status == 404")
    assert pairs == [("http://a.example/gone", "text/html")]


@pytest.mark.parametrize("compressed", [True, False])
def test_a_file_that_ends_too_soon_is_told(tmp_path, compressed):
    crawl = Crawl(compressed).page("http://a.example/1", PAGE.encode())
    middle = crawl.bytes.tell() + 350
    crawl.page("http://a.example/2", PAGE.encode())
    name = "a.warc.gz" if compressed else "a.warc"
    with pytest.raises(RunError, match=rf"{name}: (cannot be read to its end|ends within a record)"):
        read(crawl.write(tmp_path / name, middle))


def test_what_is_no_crawl_and_missing_packages_are_told(tmp_path, monkeypatch):
    (tmp_path / "b.warc").write_text("hello\nworld\n" * 50)
    with pytest.raises(RunError, match=r"b.warc: cannot be read to its end \(Invalid WARC header"):
        read(str(tmp_path / "b.warc"))
    monkeypatch.setitem(sys.modules, "fastwarc.warc", None)
    with pytest.raises(RunError, match=r"WARC files need more packages .* pip install 'gte_ray\[warc\]'"):
        read(Crawl().write(tmp_path / "a.warc.gz"))
