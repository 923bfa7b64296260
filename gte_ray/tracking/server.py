"""MLflow's tracking URI: which ones are allowed, and how users and messages see it."""

import os
import re
import shlex
import shutil
import sys
from urllib.parse import quote, urlencode

from gte_ray.errors import UsageError
from gte_ray.runtime.uri import without_password

LOCAL_PAGE = "http://127.0.0.1:5000"
"""Where `mlflow ui` serves."""


def resolve_uri(uri: str) -> str:
    """`uri` with the path of an SQLite database made absolute. Raises UsageError if MLflow cannot use it."""
    scheme, _, rest = uri.partition("://")
    if uri.startswith("sqlite:///"):
        return f"sqlite:///{os.path.abspath(os.path.expanduser(rest[1:]))}"
    if not rest or re.split(r"[+-]", scheme)[0] not in ("http", "https", "postgresql", "mysql", "mssql"):
        raise UsageError(
            f"--tracking-uri is {without_password(uri)!r}; allowed is a server (http://host:5000) "
            "or a database (sqlite:///mlflow.db, postgresql://...)"
        )
    return uri


def to_view(uri: str, experiment_id: str = "", run_id: str = "", compared_by: str = "") -> list[str]:
    """The command to type, if one is needed, and the page to open: of a run, an experiment, or of all of them.

    With `compared_by`, the name of a metric, it has charts of the runs below `run_id` instead, the best of them first.
    """
    server = without_password(uri).rstrip("/") if uri.startswith("http") else LOCAL_PAGE
    path = "/".join(["", experiment_id, *(["runs", run_id] if run_id else [])]) if experiment_id else ""
    # Pages open on traces of language models otherwise, whatever the experiment says of itself.
    page = f"{server}/#/experiments{path}?workflowType=machine_learning"
    if compared_by:
        chosen = {
            "compareRunsMode": "CHART",
            "searchFilter": f"tags.`mlflow.parentRunId` = '{run_id}'",
            # In any order but that of their dates, or they are folded away below their parent.
            "orderByKey": f"metrics.`{compared_by}`",
            "orderByAsc": "false",
        }
        fields = urlencode(chosen, quote_via=quote)
        page = f"{server}/#/experiments/{experiment_id}/runs?workflowType=machine_learning&{fields}"
    if uri.startswith("http"):
        return [page]
    program = "mlflow" if shutil.which("mlflow") else f"{_from_here(sys.executable)} -m mlflow"
    uri = without_password(resolve_uri(uri))
    if uri.startswith("sqlite:///"):
        uri = f"sqlite:///{_from_here(uri.removeprefix('sqlite:///'))}"
    return [f"{program} ui --backend-store-uri {shlex.quote(uri)}", page]


def _from_here(path: str) -> str:
    """`path`, relative to the working directory if it is inside it."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def reason(error: Exception) -> str:
    """The innermost cause of an error, on one line."""
    cause: BaseException = error
    while cause.__cause__ is not None or (cause.__context__ is not None and not cause.__suppress_context__):
        cause = cause.__cause__ or cause.__context__ or cause
    text = without_password(" ".join(str(cause).split()))
    return f"{type(cause).__name__}: {text}"[:200]
