"""Errors that end a command, and `explain`, which puts any failure into one sentence.

A failure may come from our code, from the operating system, or from a process that Ray lost.
"""

import errno
import re
import traceback

LOWER_IN_TRAINING = (
    "lower --micro-batch-tokens, --graph-tokens or --loss-tile, or put fewer workers on a node"
)
LOWER_IN_TASKS = "use a machine with more memory, or a Ray of fewer CPUs (RAY_ADDRESS)"
LOWER_IN_ACTORS = "use fewer --workers, or a machine with more memory"
LOWER_IN_SCORING = "lower --micro-batch-tokens or --eval-limit, or put fewer workers on a node"

_LOST = (
    "ActorDiedError",
    "ActorUnavailableError",
    "WorkerCrashedError",
    "NodeDiedError",
    "LocalRayletDiedError",
)


class RunError(Exception):
    """An input or the environment does not allow the run. The command prints the message and exits with 1."""


class UsageError(RunError):
    """A flag or argument is not allowed. The command prints the message and exits with 2."""


class OutOfMemory(RunError):
    """The settings need more memory than there is, so a retry would fail too."""


class InternalError(RunError):
    """A bug in the program, not a fault of its input. `details` holds the traceback."""

    def __init__(self, message: str, details: str = ""):
        super().__init__(message, details)
        self.message, self.details = message, details

    def __str__(self) -> str:
        return self.message


def explain(error: BaseException, remedy: str = LOWER_IN_TASKS, frame: str = "{}") -> RunError:
    """Converts `error`, which Ray may have wrapped, to a RunError with a message of one sentence.

    `remedy` is the advice if memory ran out. The message replaces the `{}` of `frame`. A RunError keeps its
    type; an unforeseen error becomes an InternalError that keeps the traceback.
    """
    explained = _explained(error, remedy)
    message = frame.replace("{}", str(explained))
    return (
        InternalError(message, explained.details)
        if isinstance(explained, InternalError)
        else type(explained)(message)
    )


def _explained(error: BaseException, remedy: str) -> RunError:
    cause = cause_of(error)
    if isinstance(cause, InternalError):
        return cause
    if isinstance(cause, RunError):
        # A new error from the first line only: Ray Data appends how often it tried.
        return next(kind for kind in type(cause).__mro__ if _is_ours(kind))(_line(str(cause)))
    if is_out_of_memory(cause):
        return OutOfMemory(f"{_out_of_memory(cause)}; {remedy}")
    if type(cause).__name__ in _LOST:
        return RunError(f"{_lost(cause)}; if memory ran out there, {remedy}")
    if isinstance(cause, OSError):
        return RunError(of_system(cause))
    return InternalError(f"{type(cause).__name__}: {_line(str(cause))}", details(error))


def cause_of(error: BaseException) -> BaseException:
    """Unwraps Ray's errors: returns the exception of the task, actor or worker that failed first."""
    seen: list[BaseException] = []
    while error not in seen:
        seen.append(error)
        inner = _inner(error)
        if isinstance(inner, BaseException):
            error = inner
    return error


def of_system(error: OSError) -> str:
    """Describes a failure of a disk, file, bucket or connection in one sentence."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space is left on the device ({error.filename or 'where the command writes'})"
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if error.errno == errno.ENOTDIR:  # of Arrow, which names the place in its words alone
        path = (re.findall(r"'([^']+)'", str(error)) or ["a place"])[0]
        return f"{path}: something on the way there is a file; allowed is the path of a folder"
    return _line(str(error)) or type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` reports that a process, a node or a GPU ran out of memory."""
    # Compared by name, because some callers import neither torch nor Ray.
    if isinstance(error, MemoryError | OutOfMemory) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = "out of memory|can't allocate memory|CUBLAS_STATUS_ALLOC_FAILED"
    return isinstance(error, RuntimeError) and re.search(words, str(error)) is not None


def details(error: BaseException) -> str:
    """The traceback of `error` and of the errors that caused it."""
    return "".join(traceback.format_exception(error))


def _inner(error: BaseException) -> object:
    """The exception that `error` wraps, or None."""
    failures = getattr(error, "worker_failures", None)
    if failures:
        # When one rank dies, the others only lose their connection: prefer a RunError or out-of-memory.
        causes = [cause_of(failure) for failure in failures.values()]
        informative = [cause for cause in causes if isinstance(cause, RunError) or is_out_of_memory(cause)]
        return (informative or causes)[0]
    for name in ("health_check_failure", "controller_failure", "cause"):
        if isinstance(getattr(error, name, None), BaseException):
            return getattr(error, name)
    is_last = type(error).__name__ in _LOST or is_out_of_memory(error)
    return error.__cause__ if type(error).__module__.startswith("ray.") and not is_last else None


def _is_ours(kind: type) -> bool:
    return issubclass(kind, RunError) and kind.__module__ == RunError.__module__


def _out_of_memory(error: BaseException) -> str:
    if type(error).__module__.startswith("ray."):
        used = re.search(r"was ([\d.]+)GB used / ([\d.]+)GB", str(error))
        amount = f" ({used[1]} of {used[2]} GB in use)" if used else ""
        return f"a process was stopped because its node ran low on memory{amount}"
    return "the memory of the GPU ran out" if "CUDA" in str(error) else "memory ran out"


def _lost(error: BaseException) -> str:
    if "Node" in type(error).__name__ or "node died" in str(error):
        return "a node was lost with the process that worked there"
    return "a process ended unexpectedly, as by a kill signal or a crash"


def _line(text: str) -> str:
    """The first line of `text` that is not blank, or an empty string."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
