"""The errors that end a command, and any failure as one sentence: of our code, of the system, or of a process that Ray lost."""

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
    """Something in the world is not as the run needs it: the command prints the message and exits 1."""


class UsageError(RunError):
    """A flag or argument is outside what is allowed: the command prints the message and exits 2."""


class OutOfMemory(RunError):
    """There is too little memory for what the settings ask for, so that trying again would fail again."""


class InternalError(RunError):
    """A fault of the program, not of its input; `details` is the traceback of where it happened."""

    def __init__(self, message: str, details: str = ""):
        super().__init__(message, details)
        self.message, self.details = message, details

    def __str__(self) -> str:
        return self.message


def explain(error: BaseException, remedy: str = LOWER_IN_TASKS, frame: str = "{}") -> RunError:
    """`error`, which Ray may have wrapped, as a RunError of one sentence.

    `remedy` is what to lower where memory ran out; `frame` is the sentence around it all. A RunError stays what it
    is; what nobody foresaw becomes an InternalError that keeps the traceback.
    """
    found = _explained(error, remedy)
    message = frame.replace("{}", str(found))
    return InternalError(message, found.details) if isinstance(found, InternalError) else type(found)(message)


def _explained(error: BaseException, remedy: str) -> RunError:
    cause = cause_of(error)
    if isinstance(cause, InternalError):
        return cause
    if isinstance(cause, RunError):
        # A new one, without what Ray Data appends of how often it tried.
        return next(kind for kind in type(cause).__mro__ if _is_ours(kind))(_line(str(cause)))
    if is_out_of_memory(cause):
        return OutOfMemory(f"{_out_of_memory(cause)}; {remedy}")
    if type(cause).__name__ in _LOST:
        return RunError(f"{_lost(cause)}; if memory ran out there, {remedy}")
    if isinstance(cause, OSError):
        return RunError(of_system(cause))
    return InternalError(f"{type(cause).__name__}: {_line(str(cause))}", details(error))


def cause_of(error: BaseException) -> BaseException:
    """What Ray wrapped: the exception of the task, actor or worker that failed first."""
    seen: list[BaseException] = []
    while error not in seen:
        seen.append(error)
        inner = _inner(error)
        if isinstance(inner, BaseException):
            error = inner
    return error


def of_system(error: OSError) -> str:
    """The sentence on a disk, a file, a bucket or a connection that does not do what it should."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space is left on the device ({error.filename or 'where the command writes'})"
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return _line(str(error)) or type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that the memory of a process, a node or a GPU did not suffice."""
    # By name: neither torch nor Ray is imported by all that ask.
    if isinstance(error, MemoryError | OutOfMemory) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = "out of memory|can't allocate memory|CUBLAS_STATUS_ALLOC_FAILED"
    return isinstance(error, RuntimeError) and re.search(words, str(error)) is not None


def details(error: BaseException) -> str:
    """The traceback of `error` and of what it was raised from."""
    return "".join(traceback.format_exception(error))


def _inner(error: BaseException) -> object:
    """What `error` wraps, None where it wraps nothing."""
    failures = getattr(error, "worker_failures", None)
    if failures:
        # When one rank dies, others lose their connection: a sentence of ours, or of memory, is the better cause.
        causes = [cause_of(failure) for failure in failures.values()]
        told = [cause for cause in causes if isinstance(cause, RunError) or is_out_of_memory(cause)]
        return (told or causes)[0]
    for name in ("health_check_failure", "controller_failure", "cause"):
        if isinstance(getattr(error, name, None), BaseException):
            return getattr(error, name)
    says_enough = type(error).__name__ in _LOST or is_out_of_memory(error)
    return error.__cause__ if type(error).__module__.startswith("ray.") and not says_enough else None


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
    """The first line that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
