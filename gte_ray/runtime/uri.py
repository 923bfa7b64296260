"""URIs as text: splits them into root, path and options, and appends names to them."""

import re
from typing import NamedTuple
from urllib.parse import quote, unquote

OPTIONS = {
    "s3": "region scheme endpoint_override allow_bucket_creation allow_bucket_deletion allow_delayed_open "
    "tls_ca_file_path tls_ca_dir_path tls_verify_certificates smart_defaults",
    "gs": "scheme endpoint_override retry_limit_seconds project_id",
    "file": "",
}
"""Options that Arrow reads after the `?` of a URI, by scheme. Other schemes take everything after the `?`."""
PLAIN = "/:@=+,;!$&'()*~"
"""Characters of a path that a URI holds unencoded, besides letters, digits, `_`, `.` and `-`."""


class Uri(NamedTuple):
    """The parts of a URI. Only `path` is plain text: names go into it unencoded."""

    root: str
    """Scheme and authority, such as `s3://bucket`; empty for a local path."""
    path: str
    """Decoded. After a root, empty or with a leading `/`."""
    options: str
    """Everything from the `?` on. Empty if there are none."""

    def __str__(self) -> str:
        return self.root + (quote(self.path, PLAIN) if _is_encoded(self.root) else self.path) + self.options


def parse(text: str) -> Uri:
    """Splits `text` into its parts. In local paths and hf:// URIs every character is literal.

    In other URIs, `%20` and a space both mean a space. A `?` begins the options if the name of an option
    follows; otherwise it is part of a name, as `#` is.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Uri("", text, "")
    rest, options = _options(scheme, rest)
    authority, slash, path = rest.partition("/")
    root = f"{scheme}://{authority}"
    return Uri(root, slash + (unquote(path) if _is_encoded(root) else path), options)


def join(uri: str, *names: str) -> str:
    """`uri` with path components appended, which are plain text."""
    parsed = parse(uri)
    return str(parsed._replace(path="/".join([parsed.path.rstrip("/"), *names])))


def name(uri: str) -> str:
    """The last path component, as plain text."""
    return parse(uri).path.rstrip("/").rsplit("/", 1)[-1]


def beside(uri: str, ending: str) -> str:
    """The URI of a file in the same folder: the name of `uri` with `ending` appended."""
    parsed = parse(uri)
    return str(parsed._replace(path=parsed.path.rstrip("/") + ending))


def _options(scheme: str, rest: str) -> tuple[str, str]:
    names = OPTIONS.get(scheme)
    if scheme == "hf" or names == "":
        return rest, ""
    begin = re.search(r"\?" if names is None else rf"\?(?:{'|'.join(names.split())})=", rest)
    return (rest, "") if begin is None else (rest[: begin.start()], rest[begin.start() :])


def _is_encoded(root: str) -> bool:
    return root != "" and not root.startswith("hf://")


def without_password(text: str) -> str:
    """`text` with the user and password of each URI in it masked."""
    return re.sub(r"://[^/@\s]+@", "://***@", text)
