"""`python -m benchmarks.gpu` without a GPU: each section runs, and what it says of numbers holds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as program
from benchmarks.gpu.__main__ import SECTIONS
from tests.commands import HANGS

REPOSITORY = Path(__file__).parents[1]


def command(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=HANGS,
    )


@pytest.mark.processes
def test_every_section_runs_small_on_a_cpu_and_its_numbers_are_right(tmp_path):
    done = command("--device", "cpu", "--small", "--output", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    sections = json.loads((tmp_path / "gpu.json").read_text())["sections"]
    assert set(sections) == set(SECTIONS)
    assert all(sections.values())
    assert all(row["holds"] for row in sections["right"])
    table = (tmp_path / "gpu.md").read_text()
    assert table.count("\n|") == 2 + sum(map(len, sections.values()))


def test_what_was_measured_stays_when_the_time_is_over(tmp_path, monkeypatch):
    limits = ["--device", "cpu", "--small", "--minutes", "0", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["gpu", "loss", "encode", *limits])
    program.main()
    sections = json.loads((tmp_path / "gpu.json").read_text())["sections"]
    assert [row["figure"] for rows in sections.values() for row in rows] == 2 * ["not run: the time is over"]


def test_a_section_that_fails_is_told_and_the_next_begins(tmp_path, monkeypatch):
    import torch

    from benchmarks.gpu.setup import Row, Setup

    def fails(setup):
        yield Row("first", "1")
        raise RuntimeError("no kernel")

    sections = {"bad": fails, "good": lambda setup: iter([Row("second", "2")])}
    monkeypatch.setattr(program, "SECTIONS", sections)
    found = program.run(Setup(torch.device("cpu"), True, float("inf"), tmp_path), list(sections), tmp_path)
    assert [row.figure for row in found["bad"]] == ["1", "failed: RuntimeError: no kernel"]
    assert [row.figure for row in found["good"]] == ["2"]
    assert "no kernel" in (tmp_path / "gpu.md").read_text()


def test_without_a_gpu_the_command_says_what_runs_without_one(tmp_path, monkeypatch, capsys):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setattr(sys, "argv", ["gpu", "--output", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        program.main()
    assert "there is no GPU; --device cpu --small" in capsys.readouterr().err
