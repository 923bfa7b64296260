"""URIs as text: what is the place, what the path in it, and how names become part of one."""

import re
from typing import NamedTuple
from urllib.parse import quote, unquote

OPTIONS = {
    "s3": "region scheme endpoint_override allow_bucket_creation allow_bucket_deletion allow_delayed_open "
    "tls_ca_file_path tls_ca_dir_path tls_verify_certificates smart_defaults",
    "gs": "scheme endpoint_override retry_limit_seconds project_id",
    "file": "",
}
"""What Arrow reads behind the `?` of a URI, by scheme; of other schemes all that stands there."""
PLAIN = "/:@=+,;!$&'()*~"
"""Characters of a path that a URI holds as they are, besides letters, digits, `_`, `.` and `-`."""


class Uri(NamedTuple):
    """A URI taken apart. Only `path` is plain text: names may stand in it as they are."""

    root: str
    """Scheme and authority, such as `s3://bucket`; empty for a local path."""
    path: str
    """Decoded; begins with `/` where it is not empty."""
    options: str
    """From the `?` on; empty for none."""

    def __str__(self) -> str:
        return self.root + (quote(self.path, PLAIN) if _is_encoded(self.root) else self.path) + self.options


def parse(text: str) -> Uri:
    """`text` taken apart. Of a local path, and of hf://, each character stands for itself.

    Elsewhere `%20` stands for a space, and so does a space. A `?` begins options where the name of one
    follows; everywhere else it is part of a name, as `#` is.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Uri("", text, "")
    rest, options = _options(scheme, rest)
    authority, slash, path = rest.partition("/")
    root = f"{scheme}://{authority}"
    return Uri(root, slash + (unquote(path) if _is_encoded(root) else path), options)


def join(uri: str, *names: str) -> str:
    """`uri` extended by path components, which are plain text."""
    place = parse(uri)
    return str(place._replace(path="/".join([place.path.rstrip("/"), *names])))


def name(uri: str) -> str:
    """The last path component, as plain text."""
    return parse(uri).path.rstrip("/").rsplit("/", 1)[-1]


def beside(uri: str, ending: str) -> str:
    """The URI of a file beside `uri`, whose name is that of `uri` and `ending`."""
    place = parse(uri)
    return str(place._replace(path=place.path.rstrip("/") + ending))


def _options(scheme: str, rest: str) -> tuple[str, str]:
    known = OPTIONS.get(scheme)
    if scheme == "hf" or known == "":
        return rest, ""
    begin = re.search(r"\?" if known is None else rf"\?(?:{'|'.join(known.split())})=", rest)
    return (rest, "") if begin is None else (rest[: begin.start()], rest[begin.start() :])


def _is_encoded(root: str) -> bool:
    return root != "" and not root.startswith("hf://")


def without_password(text: str) -> str:
    """`text` with the user and password of each URI in it blotted out."""
    return re.sub(r"://[^/@\s]+@", "://***@", text)
