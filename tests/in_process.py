"""Ray's tasks and actors in the process of the test: starting them takes longer than what they do there."""

from types import ModuleType

import pytest


def _run_tasks(units, task):
    return (result for unit in units for result in task(unit))


def _run_grouped(units, weights, largest, task):
    return _run_tasks(units, task)


def _run_actors(units, kind, argument, pool):
    return _run_tasks(units, kind(argument) if units else None)


def run_here(monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
    """Replaces what each of `modules` has of `run_tasks`, `run_grouped` and `run_actors`."""
    here = {"run_tasks": _run_tasks, "run_grouped": _run_grouped, "run_actors": _run_actors}
    for module in modules:
        for name, function in here.items():
            if hasattr(module, name):
                monkeypatch.setattr(module, name, function)
