"""A local Ray has the CPUs that each part of a command asks for, and what others started stays."""

import os
import sys

import pytest
import ray

from gte_ray.errors import RunError
from gte_ray.runtime import cluster


@pytest.fixture
def started(monkeypatch) -> list[int]:
    """What `ray.init` was called with, in place of starting anything."""
    counts: list[int] = []
    running: list[bool] = []

    def init(num_cpus: int, **options: object) -> None:
        assert not running
        running.append(True)
        counts.append(num_cpus)

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", running.clear)
    monkeypatch.setattr(ray, "is_initialized", lambda: bool(running))
    monkeypatch.setattr(cluster, "started_cpus", {})
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return counts


def test_a_ray_with_too_few_cpus_is_started_anew(started):
    """As where an ablation prepares its store first, and its trials take a hundredth of a CPU beside their workers."""
    cluster.start_ray(1, verbose=True)
    cluster.start_ray(2.0, verbose=True)
    cluster.start_ray(2.01, verbose=True)
    cluster.start_ray(1, verbose=True)
    assert started == [2, 3, 4]


def test_a_ray_that_this_command_did_not_start_is_taken_as_it_is(started):
    ray.init(num_cpus=1)
    cluster.start_ray(8, verbose=True)
    assert started == [1]


def test_the_command_that_is_kept_has_no_password(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run.py", "alpha", "--tracking-uri", "http://me:secret@host:5000"])
    assert cluster.command_line().endswith(" alpha --tracking-uri 'http://***@host:5000'")


def test_a_process_of_ray_says_the_command_that_it_works_for(monkeypatch):
    monkeypatch.setattr(cluster, "told_commands", [])
    cluster.tell_command("python ablations/run.py alpha")
    assert cluster.command_line() == "python ablations/run.py alpha"


def test_a_ray_that_is_wanted_starts_with_the_first_tasks(started, monkeypatch):
    cluster.want_ray(1, verbose=True)
    cluster.want_ray(2, verbose=True)
    assert started == []
    cluster.start_wanted()
    assert started == [3]
    cluster.start_wanted()
    assert started == [3]
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(RunError, match=r"nothing answers at 127.0.0.1:9 \(RAY_ADDRESS\)"):
        cluster.want_ray(1, verbose=True)
