"""What all commands share: errors in one sentence, a quiet Ray, and a way out at Ctrl-C."""

import re
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.text import Text

from gte_ray.errors import InternalError, RunError, UsageError, explain

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters but tab and line feed, and what stands for bytes that are not UTF-8."""


class _PlainConsole(Console):
    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)


def plain_console(**options: Any) -> Console:
    """A console that shows each text as it is: a `[name]`, a `:name:` and an escape code are no commands to it.

    All commands print through one of these. `options` are those of rich's `Console`.
    """
    return _PlainConsole(markup=False, emoji=False, **options)


def printable(text: str) -> str:
    """`text` with what a terminal would act on, or could not take, written as `\\x1b`."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def run_command(main: Callable[[], None]) -> None:
    """Runs a command and exits: 0, 1 for any error, 2 for a UsageError, 130 when interrupted.

    An error is one sentence. The traceback of one that nobody foresaw is kept in a file that the sentence names.
    """
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(_say("interrupted; the same command goes on from the last checkpoint", 130))
    except Exception as error:
        found = error if isinstance(error, RunError) else explain(error)
        where = _keep(found) if isinstance(found, InternalError) else ""
        sys.exit(_say(f"{found}{where}", 2 if isinstance(found, UsageError) else 1))


def _keep(error: InternalError) -> str:
    """Writes the traceback to a file; what to add to the sentence."""
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
