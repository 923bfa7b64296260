"""Extracts text pairs from Python files, package metadata and Python's help topics."""

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution
from inspect import cleandoc
from typing import NamedTuple

LONGEST_DOCUMENT = 4_000
"""Maximum characters of a query or document; the rest is cut off."""
SHORTEST = 40
"""Minimum characters of a document; shorter ones carry too little content."""
SHORTEST_QUERY = 12

Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class SourcePair(NamedTuple):
    """A pair and its source."""

    source: str
    query: str
    document: str


_REFERENCE = re.compile(r":(?:py:)?(?:func|meth|class|attr|mod):`~?([\w.]+)`")
_PARAMETER = re.compile(r"^(?::param (?:[\w\[\], ]+ )?(\w+):|(\w+) ?(?:\([^)]*\))?:|(\w+) : .+$)\s*(.*)$")
_HEADING = re.compile(r"^#{1,4} +(.+?)[ #]*$")


def file_pairs(text: str) -> Iterator[SourcePair]:
    """Yields all pairs of one Python file; none if it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's code
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return
    lines = text.splitlines()
    described: dict[str, str] = {}
    references: list[tuple[str, str]] = []
    for node, qualified in _documented(tree):
        docstring = cleandoc(ast.get_docstring(node, clean=False) or "")
        if not docstring:
            continue
        summary, body = _split(docstring)
        described.setdefault(qualified.rsplit(".", 1)[-1], docstring)
        yield from _docstring_pairs(node, qualified, summary, body, lines)
        for paragraph in docstring.split("\n\n"):
            references += [(paragraph, target) for target in _REFERENCE.findall(paragraph)]
    for paragraph, target in references:
        name = target.rsplit(".", 1)[-1]
        document = described.get(name, "")
        if document and paragraph not in document:
            yield from _pair("references", _flat(_REFERENCE.sub(r"\1", paragraph)), document)
    yield from _comment_pairs(text, lines)


def _documented(tree: ast.Module) -> Iterator[tuple[Documented, str]]:
    stack: list[tuple[ast.AST, str]] = [(tree, "")]
    while stack:
        parent, prefix = stack.pop()
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, Documented):
                qualified = f"{prefix}{node.name}"
                yield node, qualified
                stack.append((node, qualified + "."))
            elif isinstance(node, ast.If | ast.Try | ast.With):
                stack.append((node, prefix))


def _docstring_pairs(
    node: Documented, qualified: str, summary: str, body: str, lines: list[str]
) -> Iterator[SourcePair]:
    code = _code_without_docstring(node, lines)
    if not isinstance(node, ast.ClassDef) and len(node.body) > 1:
        yield from _pair("functions", _flat(summary), code)
    yield from _pair("docstrings", _flat(summary), body)
    kind = "class" if isinstance(node, ast.ClassDef) else "function"
    yield from _pair("names", f"{kind} {_words(qualified)}", summary)
    for name, description in _parameters(body):
        yield from _pair("parameters", f"{_words(name)} of {_words(qualified)}", description)


def _code_without_docstring(node: Documented, lines: list[str]) -> str:
    first = node.body[0]
    start, end = first.lineno - 1, first.end_lineno or first.lineno
    last = node.end_lineno or end
    kept = lines[node.lineno - 1 : start] + lines[end:last]
    return cleandoc("\n" + "\n".join(kept))


def _parameters(body: str) -> Iterator[tuple[str, str]]:
    """Parameter names and descriptions in Sphinx, Google or NumPy style."""
    lines = body.splitlines()
    for number, line in enumerate(lines):
        match = _PARAMETER.match(line.strip())
        if not match:
            continue
        indent = len(line) - len(line.lstrip())
        description = [match[4]]
        for following in lines[number + 1 :]:
            if not following.strip() or len(following) - len(following.lstrip()) <= indent:
                break
            description.append(following.strip())
        yield match[1] or match[2] or match[3], " ".join(description).strip()


def _comment_pairs(text: str, lines: list[str]) -> Iterator[SourcePair]:
    """A block of comment lines, paired with the code directly below it."""
    comments: dict[int, str] = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip():
                comments[token.start[0]] = token.string.lstrip("#:! ").rstrip()
    except (tokenize.TokenError, IndentationError, SyntaxError):
        return
    starts = [number for number in comments if number - 1 not in comments]
    for start in starts:
        end = start
        while end in comments:
            end += 1
        code: list[str] = []
        for line in lines[end - 1 : end + 14]:
            if not line.strip() or line.lstrip().startswith("#"):
                break
            code.append(line)
        if len(code) >= 2:
            comment = " ".join(comments[number] for number in range(start, end))
            yield from _pair("comments", comment, cleandoc("\n" + "\n".join(code)))


def distribution_pairs(distribution: Distribution) -> Iterator[SourcePair]:
    """Pairs from a package's metadata: its summary and description, its README's headings and sections."""
    name, summary = distribution.metadata["Name"], distribution.metadata["Summary"] or ""
    description = distribution.metadata.get_payload() or distribution.metadata["Description"] or ""  # type: ignore[attr-defined]
    sections = list(_sections(description))
    longest = max((body for _, body in sections), key=len, default="")
    if len(summary) >= SHORTEST_QUERY:
        first = next((body for _, body in sections if len(body) > 200), longest)
        yield from _pair("packages", f"{name}: {summary}", first)
    for heading, body in sections:
        yield from _pair("readmes", f"{name}: {heading}" if heading else summary, body)


def _sections(description: str) -> Iterator[tuple[str, str]]:
    """Markdown and reStructuredText headings, each with the text below it."""
    heading = ""
    body: list[str] = []
    lines = description.replace("\r", "").splitlines()
    for number, line in enumerate(lines):
        below = lines[number + 1] if number + 1 < len(lines) else ""
        match = _HEADING.match(line)
        underlined = len(below) >= 3 and len(set(below)) == 1 and below[0] in "=-~^*+#\"'" and line.strip()
        if match or underlined:
            yield heading, "\n".join(body).strip()
            heading, body = (match[1] if match else line.strip()), []
        elif not (set(line) and set(line) <= set("=-~^*+#")):
            body.append(line)
    yield heading, "\n".join(body).strip()


def topic_pairs() -> Iterator[SourcePair]:
    """Pairs from Python's help topics: a heading or first sentence, and the text after it."""
    from pydoc_data.topics import topics

    for name in sorted(topics):
        sections = list(_sections(topics[name].replace("*", "")))
        for heading, body in sections:
            for number, paragraph in enumerate(body.split("\n\n")):
                if heading and number == 0:
                    yield from _pair("help", f"{name}: {heading}", paragraph)
                else:
                    first, _, rest = _flat(paragraph).partition(". ")
                    yield from _pair("help", first, rest)


def _split(docstring: str) -> tuple[str, str]:
    summary, _, body = docstring.partition("\n\n")
    return summary.strip(), body.strip()


def _pair(source: str, query: str, document: str) -> Iterable[SourcePair]:
    query, document = query.strip()[:LONGEST_DOCUMENT], document.strip()[:LONGEST_DOCUMENT]
    # A document that contains its query verbatim would teach copying.
    if len(query) >= SHORTEST_QUERY and len(document) >= SHORTEST and query not in document:
        yield SourcePair(source, query, document)


def _flat(text: str) -> str:
    return " ".join(text.split())


def _words(name: str) -> str:
    """`ResNet.forward_hook` as `res net forward hook`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name.replace(".", " ").replace("_", " "))
    return _flat(spaced).lower()
