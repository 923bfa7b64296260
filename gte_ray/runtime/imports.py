"""Import large libraries faster, and those of extras where they are installed."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from gte_ray.errors import RunError, UsageError


@contextmanager
def without_collector() -> Iterator[None]:
    """Pause garbage collection: what looks through modules while they are made takes a fifth of their import's time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def of_extra(extra: str, need: str, kind: type[RunError] = UsageError) -> Iterator[None]:
    """Tell in one sentence, which begins with `need`, that the packages of an extra are missing if an import inside fails."""
    try:
        yield
    except ImportError as error:
        raise kind(f"{need} ({error}): pip install 'gte_ray[{extra}]'") from error


@contextmanager
def missing(name: str) -> Iterator[None]:
    """Let a module that was not imported so far count as not installed."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
