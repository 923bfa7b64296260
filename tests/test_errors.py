"""Failures in Ray's tasks and actors: one sentence, and no process is started again for ever."""

import errno
import os
import pickle
import signal
import sys

import pytest
import ray
import torch
from ray.exceptions import ActorDiedError, OutOfMemoryError, WorkerCrashedError
from ray.train import WorkerGroupError

from gte_ray.errors import (
    LOWER_IN_ACTORS,
    LOWER_IN_TASKS,
    InternalError,
    OutOfMemory,
    RunError,
    UsageError,
    explain,
)
from gte_ray.runtime.pool import LOST_TASK_RETRIES, Pool, run_actors, run_tasks

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests


def failures():
    return {
        "run": RunError("model/nope: there is no such model"),
        "usage": UsageError("--x is 1; allowed is 2"),
        "file": FileNotFoundError(errno.ENOENT, "No such file or directory", "/gone/part.parquet"),
        "denied": PermissionError(errno.EACCES, "Permission denied", "/locked"),
        "between": OSError(errno.ENOTDIR, "Cannot list directory '/store/file'. Detail: Not a directory"),
        "full": OSError(errno.ENOSPC, "No space left on device", "/full"),
        "memory": MemoryError(),
        "gpu": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"),
        "bug": ValueError("first line\nsecond line"),
    }


SENTENCES = {
    "run": (RunError, "model/nope: there is no such model"),
    "usage": (UsageError, "--x is 1; allowed is 2"),
    "file": (RunError, "/gone/part.parquet: No such file or directory"),
    "denied": (RunError, "/locked: Permission denied"),
    "between": (
        RunError,
        "/store/file: something on the way there is a file; allowed is the path of a folder",
    ),
    "full": (RunError, "no space is left on the device (/full)"),
    "memory": (OutOfMemory, "memory ran out; {}"),
    "gpu": (OutOfMemory, "the memory of the GPU ran out; {}"),
    "bug": (InternalError, "ValueError: first line"),
}


class Fails:
    """Fails in its constructor, or with its first unit."""

    def __init__(self, where_and_what: tuple[str, str]):
        self.where, self.what = where_and_what
        if self.where == "constructor":
            raise failures()[self.what]

    def __call__(self, unit):
        raise failures()[self.what]
        yield


@pytest.mark.parametrize(
    ("where", "what"),
    [*(("constructor", what) for what in SENTENCES), ("call", "bug"), ("call", "run"), ("task", "bug"), ("task", "full"),
     ("task", "memory")],
)  # fmt: skip
def test_what_fails_in_a_process_of_ray_is_one_sentence(ray_local, capfd, where, what):
    remedy = LOWER_IN_TASKS if where == "task" else LOWER_IN_ACTORS
    kind, sentence = SENTENCES[what]
    with pytest.raises(RunError) as caught:
        if where == "task":
            list(run_tasks([1, 2], Fails(("call", what))))
        else:
            list(run_actors([1, 2], Fails, (where, what), Pool()))
    assert type(caught.value) is kind
    assert str(caught.value) == sentence.replace("{}", remedy)
    if kind is InternalError:
        assert "raise failures()[self.what]" in caught.value.details and "second line" in caught.value.details
    assert "Traceback" not in capfd.readouterr().err


def test_a_task_that_is_killed_each_time_is_not_started_for_ever(ray_local, tmp_path):
    started = tmp_path / "started"

    def task(unit):
        with open(started, "a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
        yield {}

    with pytest.raises(RunError, match=r"a process ended unexpectedly.*use a machine with more memory"):
        list(run_tasks([1], task))
    assert len(started.read_text()) == 1 + LOST_TASK_RETRIES


def test_an_actor_that_is_killed(ray_local):
    class Killed:
        def __init__(self, argument):
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RunError, match=r"a process ended unexpectedly.*use fewer --workers"):
        list(run_actors([1], Killed, None, Pool()))


def test_the_cause_is_found_in_what_ray_wraps_it_in(ray_local):
    @ray.remote
    def task():
        raise failures()["denied"]

    with pytest.raises(ray.exceptions.RayError) as caught:
        ray.get(task.remote())
    found = explain(caught.value, frame="the model could not be exported: {}")
    assert str(found) == "the model could not be exported: /locked: Permission denied"


def test_of_several_workers_the_one_that_says_why_is_heard():
    """Others lose their connection when one ends, and some of these come first."""
    lost = RuntimeError("connection closed by peer")
    error = WorkerGroupError(
        "four lines\nof Ray", {0: lost, 1: RunError("the disk of rank 1 is full"), 2: lost}
    )
    assert str(explain(error)) == "the disk of rank 1 is full"


@pytest.mark.parametrize("error", [WorkerCrashedError(), ActorDiedError()])
def test_lost_processes_name_what_to_lower(error):
    assert str(explain(error, "lower it")).endswith("; if memory ran out there, lower it")


def test_rays_memory_monitor():
    text = (
        "1 worker(s) were killed. Memory on the node was 22.40GB used / 23.54GB limit (0.95)\n"
        + "more\n" * 40
    )
    found = explain(OutOfMemoryError(text), "lower it")
    assert type(found) is OutOfMemory
    assert str(found) == (
        "a process was stopped because its node ran low on memory (22.40 of 23.54 GB in use); lower it"
    )


def test_errors_travel_between_processes():
    error = InternalError("ValueError: x", "a traceback")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.details) == ("ValueError: x", "a traceback")
