"""Rows of a WARC file, as web crawls are published: pages of HTML (WARC), or their texts (WET).

A page of HTML gives its title and its main text, without menus and the like; a text its first line and the others.
The only importer of fastwarc and resiliparse.
"""

import io
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from gte_ray.errors import RunError
from gte_ray.runtime.imports import of_extra

HTML = ("text/html", "application/xhtml+xml")
HEAD_BYTES = 512
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
    with of_extra("warc", f"{uri}: WARC files need more packages", RunError):
        from fastwarc.warc import ArchiveIterator, WarcRecordType
    forward: Any = _Forward(stream)
    wanted = WarcRecordType.response | WarcRecordType.conversion
    for record in ArchiveIterator(forward, record_types=wanted, parse_http=True):
        found = {
            "url": record.headers.get("WARC-Target-URI") or "",
            "date": record.headers.get("WARC-Date") or "",
        }
        content = record.reader.read(LARGEST_PAGE + 1)  # as much as a page may have
        if record.record_type == WarcRecordType.conversion:
            yield found | _text(content)
        elif record.is_http:
            yield found | _page(record, content)
        else:
            yield found | {
                "status": 0,
                "content_type": record.headers.get("Content-Type") or "",
                "title": "",
                "text": "",
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

    status, kind = record.http_headers.status_code or 0, (record.http_content_type or "").strip().lower()
    found = {"status": status, "content_type": kind, "title": "", "text": ""}
    content = _unpacked(record.http_headers, content)
    # What is still packed, or no text, has zeros at its beginning.
    if status != 200 or kind not in HTML or len(content) > LARGEST_PAGE or b"\0" in content[:HEAD_BYTES]:
        return found
    try:
        page = bytes_to_str(content, record.http_charset or detect_encoding(content) or "utf-8")
    except (LookupError, ValueError):  # of a name that is none
        page = bytes_to_str(content, detect_encoding(content) or "utf-8")
    tree = HTMLTree.parse(page)
    return found | {
        "title": (tree.title or "").strip(),
        "text": extract_plain_text(tree, main_content=True).strip(),
    }


def _unpacked(headers: Any, content: bytes) -> bytes:
    """The page as it was before its transfer; as it is where it was unpacked already, as crawlers often keep the headers."""
    if "chunked" in (headers.get("Transfer-Encoding") or "").lower():
        content = _joined(content)
    packing = (headers.get("Content-Encoding") or "identity").strip().lower()
    if packing in ("gzip", "x-gzip", "deflate"):
        for window in (47, -15):  # with either header, and without
            with suppress(zlib.error):
                return zlib.decompressobj(window).decompress(content, LARGEST_PAGE + 1)
    unpacked = packing == "identity" or content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    return content if unpacked else b""


def _joined(content: bytes) -> bytes:
    """The chunks of a body in one; the body itself if it has no sizes in it."""
    parts, position = [], 0
    while position < len(content):
        line, _, _ = content[position : position + 64].partition(b"\r\n")
        size = re.fullmatch(rb"([0-9A-Fa-f]+)\s*(;.*)?", line)
        if size is None:
            return content
        position += len(line) + 2
        length = int(size[1], 16)
        parts.append(content[position : position + length])
        position += length + 2
        if not length:
            break
    return b"".join(parts)
