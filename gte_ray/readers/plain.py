"""The text of HTML."""

import re
from html.parser import HTMLParser

BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "br",
        "dd",
        "div",
        "dl",
        "dt",
        "figure",
        "footer",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "main",
        "nav",
        "ol",
        "p",
        "pre",
        "section",
        "table",
        "tr",
        "ul",
    ]
)
"""Elements that begin and end a line."""
UNSHOWN = frozenset({"script", "style", "template", "noscript", "title"})


_SPACE = re.compile(r"[ \t\r\n\f]+")


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.unshown = 0
        """Number of open elements whose text is not shown."""
        self.preformatted = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.unshown += tag in UNSHOWN
        self.preformatted += tag == "pre"
        if tag in BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self.unshown -= tag in UNSHOWN and self.unshown > 0
        self.preformatted -= tag == "pre" and self.preformatted > 0
        if tag in BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self.unshown:
            self.parts.append(data if self.preformatted else _SPACE.sub(" ", data))


def plain(html: str) -> str:
    """The text of a page or a part of one, without tags, entities and empty lines; code stays indented."""
    parser = _Text()
    parser.feed(html)
    parser.close()
    lines = (line.rstrip() for line in "".join(parser.parts).replace("\xa0", " ").split("\n"))
    return "\n".join(line if line.startswith("  ") else line.lstrip() for line in lines if line)
