"""What all commands share: errors in one sentence, a quiet Ray, and a way out at Ctrl-C."""

import logging
import math
import os
import re
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.text import Text

from gte_ray.errors import InternalError, RunError, UsageError
from gte_ray.failures import explain

OUT_OF_MEMORY_RETRIES = 3
"""Times that Ray starts a task again that it killed because its node ran low on memory."""

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


def start_ray(cpus: float, verbose: bool) -> None:
    """Joins the cluster that RAY_ADDRESS names, or starts a local Ray with one CPU beyond `cpus`.

    That CPU is for reading data: without one that is free, a stream waits for ever.
    """
    import ray

    if ray.is_initialized():
        return
    # After an interrupt has shut Ray down, a thread that still asks for it must not start another.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    # A task that is killed for want of memory is tried again for ever otherwise.
    os.environ.setdefault("RAY_task_oom_retries", str(OUT_OF_MEMORY_RETRIES))
    if not verbose:
        import ray.data  # sets its own logger up when it is imported, so it has to be first

        for name in ("ray.data", "ray.train", "ray.tune"):
            # What they log of errors comes as an exception too, and is told in a sentence.
            logging.getLogger(name).setLevel(logging.CRITICAL)
        os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
        # What Ray's daemons say of lost processes: `log_to_driver` does not keep it off the console.
        ray._private.worker.print_to_stdstream = lambda data, ignore_prefix: None
    quiet = {} if verbose else {"log_to_driver": False, "logging_level": logging.ERROR}
    address = os.environ.get("RAY_ADDRESS")
    if address:
        _knock(address)
        try:
            ray.init(**quiet)
        except (ConnectionError, RuntimeError) as error:
            raise RunError(
                f"the Ray at {address} (RAY_ADDRESS) cannot be joined; where it asks for a token, "
                "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or ~/.ray/auth_token, have to give it"
            ) from error
        return
    count = max(os.cpu_count() or 1, math.ceil(cpus) + 1)
    ray.init(address="local", num_cpus=count, include_dashboard=False, **quiet)


def _knock(address: str) -> None:
    """RunError where nothing listens at `address`, which Ray would take minutes to notice."""
    host, _, port = address.rpartition(":")
    if not re.fullmatch(r"[^/]+", host) or not port.isdigit():
        return  # `auto`, or what Ray makes of a URI
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise RunError(f"nothing answers at {address} (RAY_ADDRESS): {error.strerror or error}") from error


class Interruption:
    """Tells a piece of work that it is interrupted, and knows what to do then."""

    def __init__(self) -> None:
        self.happened = threading.Event()
        self._actions: list[Callable[[], object]] = []

    def on_interrupt(self, action: Callable[[], object]) -> None:
        """`action` is called when the work is interrupted, while all that it uses still runs."""
        self._actions.append(action)

    def interrupt(self) -> None:
        self.happened.set()
        for action in self._actions:
            action()


def until_interrupted(work: Callable[[Interruption], None]) -> None:
    """Runs `work` in a thread, so that Ctrl-C and SIGTERM act at once whatever it waits for.

    Some calls of Ray return at no signal, nor when Ray is shut down; the thread is then left behind.
    """
    interruption = Interruption()
    outcome: list[BaseException] = []

    def body() -> None:
        try:
            work(interruption)
        except BaseException as error:
            outcome.append(error)

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    thread = threading.Thread(target=body, name="work", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.2)
    except KeyboardInterrupt:
        import ray

        interruption.interrupt()
        ray.shutdown()
        raise
    if outcome:
        raise outcome[0]
