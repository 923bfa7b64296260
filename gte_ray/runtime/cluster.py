"""The Ray that a command joins or starts, and a way out of all work at Ctrl-C."""

import logging
import math
import os
import re
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Callable

from gte_ray.errors import RunError
from gte_ray.runtime.uri import without_password

OUT_OF_MEMORY_RETRIES = 3
"""Times that Ray starts a task again that it killed because its node ran low on memory."""
told_commands: list[str] = []
"""The command that this process was told it works for."""
_wanted: list[tuple[float, bool]] = []
"""What `want_ray` was told and is not started yet."""
_quiet = threading.Event()
"""Whether `start_ray` keeps the logs of Ray off the console."""
started_cpus: dict[str, int] = {}
"""`cpus` of the local Ray that this process started, if it did."""


def want_ray(cpus: float, verbose: bool) -> None:
    """As `start_ray`, but Ray is started with the first tasks: what needs none ends without the seconds that it takes.

    Raises RunError at once if nothing listens where RAY_ADDRESS says.
    """
    _wanted.append((cpus, verbose))
    address = os.environ.get("RAY_ADDRESS")
    if address:
        _check_listening(address)


def start_wanted() -> None:
    """Starts what `want_ray` was last told of, if Ray was not started since."""
    if _wanted:
        wanted = _wanted.pop()
        _wanted.clear()
        start_ray(*wanted)


def start_ray(cpus: float, verbose: bool) -> None:
    """Joins the cluster that RAY_ADDRESS names, or starts a local Ray with one CPU beyond `cpus`.

    That CPU is for reading data: without one that is free, a stream waits for ever. A local Ray that an earlier
    call started with fewer CPUs is started anew.
    """
    import ray

    count = max(os.cpu_count() or 1, math.ceil(cpus) + 1)
    if ray.is_initialized():
        if count <= started_cpus.get("cpus", count):
            return
        ray.shutdown()
    # After an interrupt has shut Ray down, a thread that still asks for it must not start another.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    # A task that is killed for want of memory is tried again for ever otherwise.
    os.environ.setdefault("RAY_task_oom_retries", str(OUT_OF_MEMORY_RETRIES))
    if not verbose:
        _quiet.set()
        quiet_loggers()
        os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
        # What Ray's daemons say of lost processes: `log_to_driver` does not keep it off the console.
        ray._private.worker.print_to_stdstream = lambda data, ignore_prefix: None
    quiet = {} if verbose else {"log_to_driver": False, "logging_level": logging.ERROR}
    address = os.environ.get("RAY_ADDRESS")
    if address:
        _check_listening(address)
        try:
            ray.init(**quiet)
        except (ConnectionError, RuntimeError) as error:
            raise RunError(
                f"the Ray at {address} (RAY_ADDRESS) cannot be joined; where it asks for a token, "
                "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or ~/.ray/auth_token, have to give it"
            ) from error
        return
    # A node of its own is taken away with all that would watch for a notice.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    ray.init(address="local", num_cpus=count, include_dashboard=False, **quiet)
    started_cpus["cpus"] = count


def keep_quiet() -> None:
    """Quiets Ray's libraries again if `start_ray` did: they set the levels of their loggers when they are imported."""
    if _quiet.is_set():
        quiet_loggers()


def quiet_loggers() -> None:
    """Keeps the logs of Ray's libraries off the console: what they log of errors comes as an exception too."""

    for name in ("ray.data", "ray.train", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _check_listening(address: str) -> None:
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


def tell_command(command: str) -> None:
    """Tells this process, which Ray started, which command it works for."""
    told_commands.append(command)


def command_line() -> str:
    """The command that runs, as a person would type it, without the passwords of URIs."""
    if told_commands:
        return told_commands[-1]
    main = getattr(sys.modules["__main__"], "__spec__", None)
    program = f"python -m {main.name}" if main is not None else f"python {sys.argv[0]}"
    return shlex.join([*program.split(), *map(without_password, sys.argv[1:])])
