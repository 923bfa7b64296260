"""What all commands share: a console that prints text literally, and errors in one sentence."""

import re
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.text import Text

from gte_ray.errors import InternalError, RunError, UsageError, explain
from gte_ray.tracking.server import to_view

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters except tab and line feed, and the surrogates of bytes that are not UTF-8."""


class _PlainConsole(Console):
    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)


def plain_console(**options: Any) -> Console:
    """A console that prints text literally: `[name]`, `:name:` and escape codes have no effect, numbers and paths no colour.

    All commands print through such a console. `options` are those of rich's `Console`.
    """
    return _PlainConsole(markup=False, emoji=False, highlight=False, **options)


def counted(count: int, noun: str) -> str:
    """A number with its noun, in the plural but for one."""
    return f"{count:,} {noun}{'s' if count != 1 else ''}"


def printable(text: str) -> str:
    """`text` with the characters that a terminal would act on, or could not print, written as `\\x1b`."""
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)


def print_mlflow(
    console: Console, uri: str, experiment_id: str = "", run_id: str = "", compared_by: str = ""
) -> None:
    """Prints how to view what `to_view` names in MLflow; without line breaks, to be copied."""
    for name, line in zip(("MLflow", ""), to_view(uri, experiment_id, run_id, compared_by), strict=False):
        console.print(f"{name:7} {line}", soft_wrap=True)


def run_command(main: Callable[[], None]) -> None:
    """Runs a command. The exit code is 0, 2 for a UsageError, 1 for other errors, 130 when interrupted.

    An error is printed as one sentence. An unforeseen one also names a file that holds its traceback.
    """
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(_say("interrupted; the same command goes on from the last checkpoint", 130))
    except Exception as error:
        failure = error if isinstance(error, RunError) else explain(error)
        suffix = _keep(failure) if isinstance(failure, InternalError) else ""
        sys.exit(_say(f"{failure}{suffix}", 2 if isinstance(failure, UsageError) else 1))


def _keep(error: InternalError) -> str:
    """Writes the traceback to a file. Returns what to append to the sentence."""
    details = error.details or traceback.format_exc()
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="gte_ray-error-", suffix=".log", delete=False, encoding="utf-8", errors="replace"
        ) as file:
            file.write(details)
    except OSError:
        return f"\n{details}"
    return f" (an internal error; its traceback is in {file.name})"


def _say(message: object, code: int) -> int:
    print(printable(f"error: {message}" if code < 130 else str(message)), file=sys.stderr)
    return code
