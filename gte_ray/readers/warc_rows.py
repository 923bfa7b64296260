"""Rows of a WARC file, as web crawls are published: pages of HTML (WARC), or their texts (WET).

A page of HTML gives its title and its main text, without menus and the like; a text its first line and the others.
The only importer of fastwarc and resiliparse.
"""

import io
import zlib
from collections.abc import Iterator
from typing import Any

from gte_ray.errors import RunError

HTML = ("text/html", "application/xhtml+xml")
LARGEST_PAGE = 2**24
"""Bytes of HTML beyond which a page is none: it is left out with an empty text."""


class _Forward:
    """A stream that is read forward alone, as a decompressed one has to be; the library asks others for their positions."""

    def __init__(self, stream: io.BufferedReader):
        self.stream, self.position = stream, 0
        self.last = b""
        """The last bytes that were read."""

    def read(self, size: int = -1) -> bytes:
        content = self.stream.read(size)
        self.position += len(content)
        self.last = (self.last + content[-4:])[-4:]
        return content

    def tell(self) -> int:
        return self.position


def warc_values(stream: io.BufferedReader, uri: str) -> Iterator[dict[str, Any]]:
    """Yields url, date, status, content_type, title and text of each response and text of the file.

    What is no page, by its status or its type, has no title and an empty text. Raises RunError for a file that ends within a
    record or is no WARC file, or if the packages that read one are not installed.
    """
    try:
        from fastwarc.warc import ArchiveIterator, WarcRecordType
    except ImportError as error:
        raise RunError(
            f"{uri}: WARC files need more packages ({error}): pip install 'gte_ray[warc]'"
        ) from error
    wanted = WarcRecordType.response | WarcRecordType.conversion
    forward: Any = _Forward(stream)
    for record in ArchiveIterator(forward, record_types=wanted, parse_http=True):
        address = record.headers.get("WARC-Target-URI") or ""
        whole = record.content_length
        content = record.reader.read()
        if len(content) < whole:
            raise RunError(f"{uri}: ends within the record of {address}")
        yield {
            "url": address,
            "date": record.headers.get("WARC-Date") or "",
            **(_page(record, content) if record.is_http else _text(content)),
        }
    if not forward.last.endswith((b"\r\n\r\n", b"\n\n")):  # as each record does
        raise RunError(f"{uri}: ends within a record")


def _text(content: bytes) -> dict[str, Any]:
    title, _, text = content.decode(errors="surrogateescape").strip().partition("\n")
    return {"status": 200, "content_type": "text/plain", "title": title.strip(), "text": text.strip()}


def _page(record: Any, content: bytes) -> dict[str, Any]:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding
    from resiliparse.parse.html import HTMLTree

    headers = record.http_headers
    status, kind = headers.status_code or 0, record.http_content_type or ""
    found = {"status": status, "content_type": kind, "title": "", "text": ""}
    content = _decoded(content, (headers.get("Content-Encoding") or "").strip().lower())
    if status != 200 or kind not in HTML or len(content) > LARGEST_PAGE:
        return found
    charset: str = record.http_charset or detect_encoding(content) or "utf-8"
    tree = HTMLTree.parse(bytes_to_str(content, charset))
    return found | {
        "title": (tree.title or "").strip(),
        "text": extract_plain_text(tree, main_content=True).strip(),
    }


def _decoded(content: bytes, encoding: str) -> bytes:
    """The page of a response that came compressed, empty if it cannot be told; of more than is read, its beginning."""
    if encoding in ("", "identity"):
        return content
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return b""
    try:
        return zlib.decompressobj(47).decompress(content, LARGEST_PAGE + 1)  # either header
    except zlib.error:
        return content  # crawlers keep the header of what they unpacked
