"""What a person reads where a command cannot go on, and its exit code."""

import errno
import io
import os
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
import torch
from rich.console import Console
from rich.table import Table

from gte_ray.ablation.terminal import TrialsDisplay
from gte_ray.ablation.trials import Trial
from gte_ray.ablation.tune import TrialProgress
from gte_ray.cli.console import plain_console, run_command
from gte_ray.cli.progress import ConsoleDisplay, PreparingProgress, TrainingProgress, clock
from gte_ray.config.fields import Workers
from gte_ray.errors import RunError
from gte_ray.recipes import RECIPES
from gte_ray.recipes.paper import tiny
from gte_ray.runs import capacity
from gte_ray.runs.capacity import check_capacity
from gte_ray.runtime.cluster import start_ray
from gte_ray.train.machine import Readings
from gte_ray.train.mailbox import Reporter
from gte_ray.train.step_report import StepReport
from tests.commands import HANGS
from tests.runs.test_history import report


@pytest.mark.parametrize(
    ("raised", "sentence"),
    [
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/etc/hostname/x"), "/etc/hostname/x: Not a directory"),
        (OSError(errno.ENOSPC, "No space left", "/full/x"), "no space is left on the device (/full/x)"),
        (OSError("When getting information for key 'x': no answer\nand more"), "When getting information for key 'x'"),
        (ConnectionError(), "ConnectionError"),
    ],
)  # fmt: skip
def test_a_place_that_does_not_do_what_it_should_is_told_in_a_sentence(capsys, raised, sentence):
    def main() -> None:
        raise raised

    with pytest.raises(SystemExit) as stop:
        run_command(main)
    err = capsys.readouterr().err
    assert stop.value.code == 1
    assert err.startswith(f"error: {sentence}") and err.count("\n") == 1


AWKWARD = "a [v2] [/x] [bold]b :smile: {c} \x1b[31m\udce9 [link=x]"
"""Markup, an emoji's name, an escape code, a byte that is not UTF-8."""
SHOWN = r"a [v2] [/x] [bold]b :smile: {c} \x1b[31m\udce9 [link=x]"


def test_all_that_others_named_is_shown_as_it_is():
    console = plain_console(file=io.StringIO(), width=200)
    console.print(f"run {AWKWARD}", style="yellow")
    table = Table(title=f"title {AWKWARD}", caption=f"caption {AWKWARD}", show_lines=True)
    table.add_column(f"column {AWKWARD}")
    table.add_row(f"cell {AWKWARD}", style="bold")
    console.print(table)
    ConsoleDisplay(console).warn(AWKWARD)
    with PreparingProgress(console) as progress:
        progress.report(AWKWARD, 1)
    shown = console.file.getvalue()
    for place in ("run", "title", "caption", "column", "cell", "warning:"):
        assert f"{place} {SHOWN}" in shown
    assert shown.count(SHOWN) == 7 and "\x1b[31m" not in shown


def test_live_lines_show_names_as_they_are():
    console = plain_console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    with PreparingProgress(console) as preparing:
        preparing.report(AWKWARD, 1)
    with TrialsDisplay(console) as trials:
        trials.show(Trial(None, AWKWARD, 0, None), TrialProgress(0, 1, 2, 0.5, said=AWKWARD))
    shown = console.file.getvalue()
    assert f"{SHOWN}: 1" in shown and f"warning: {SHOWN}: {SHOWN}" in shown
    assert shown.count(SHOWN) >= 4 and "\x1b[31m" not in shown


@pytest.mark.processes
@pytest.mark.parametrize("command", ["pretrain", "finetune", "show"])
def test_a_flag_with_brackets_is_told_as_it_is(command):
    main = [sys.executable, "-m", f"gte_ray.{command}", "--recipe", "[/bold]\x1b[31m"]
    result = subprocess.run(main, capture_output=True, text=True, timeout=HANGS)
    assert result.returncode == 2
    assert result.stderr == (
        f"error: --recipe is '[/bold]\\x1b[31m'; allowed are {', '.join(RECIPES)}, and LIST, which shows them\n"
    )


def test_errors_hold_no_escape_codes(capsys):
    def main() -> None:
        raise RunError("a\x1b[31m.jsonl [b]: \udce9")

    with pytest.raises(SystemExit):
        run_command(main)
    assert capsys.readouterr().err == "error: a\\x1b[31m.jsonl [b]: \\udce9\n"


def test_the_time_left_is_that_of_steps_without_the_warm_up():
    """A first step of 360 s, then 6 s each; after half of the steps the workers are started again."""
    console = Console(file=io.StringIO(), width=200)
    progress = TrainingProgress(console, 101, 0, plain_every_seconds=-1.0)
    steps = [
        replace(report(step), seconds=360.0 if step in (0, 50) else 6.0, first=step in (0, 50))
        for step in range(101)
    ]
    for step in steps:
        progress.show([step])
    told = console.file.getvalue().splitlines()
    assert len(told) == 101
    assert ("left" in told[0], "left" in told[50]) == (False, False)
    for step in [*range(1, 50), *range(51, 101)]:
        assert told[step].endswith(f"  0 pairs/s  {clock((100 - step) * 6)} left"), step


def test_the_first_step_of_each_start_is_marked():
    board = SimpleNamespace(push=SimpleNamespace(remote=lambda reports, until_kept: pushed.extend(reports)))
    pushed: list[StepReport] = []
    for start in (0, 2):  # workers that were started again
        reporter = Reporter(board, 0, Readings(0, torch.device("cpu")), every_seconds=-1.0)
        for step in range(start, start + 3):
            reporter.add(step, "web", 0.0, report(step).metrics)
    assert [(found.step, found.first) for found in pushed] == [
        (0, True), (1, False), (2, False), (2, True), (3, False), (4, False),
    ]  # fmt: skip


def test_a_bug_is_a_sentence_and_its_traceback_is_kept(capsys):
    def main() -> None:
        raise ValueError("a bug\nof two lines")

    with pytest.raises(SystemExit) as stop:
        run_command(main)
    err = capsys.readouterr().err
    assert stop.value.code == 1
    assert err.count("\n") == 1
    kept = re.fullmatch(r"error: ValueError: a bug \(an internal error; its traceback is in (.*)\)\n", err)
    assert 'raise ValueError("a bug' in Path(kept[1]).read_text()


def test_ctrl_c_is_no_error(capsys):
    def main() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        run_command(main)
    assert stop.value.code == 130
    assert capsys.readouterr().err == "interrupted; the same command goes on from the last checkpoint\n"


@pytest.fixture
def no_ray(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ENABLE_AUTO_CONNECT", "0")


def test_a_cluster_that_is_gone_is_told_at_once(no_ray, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    with pytest.raises(
        RunError, match=rf"nothing answers at 127.0.0.1:{port} \(RAY_ADDRESS\): Connection ref"
    ):
        start_ray(1, verbose=True)


def test_a_cluster_that_does_not_let_the_command_in(no_ray, monkeypatch):
    def refuse(**options: object) -> None:
        raise ConnectionError("Failed to connect to Ray cluster")

    monkeypatch.setattr(ray, "init", refuse)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(
            RunError, match=r"cannot be joined; where it asks for a token, RAY_AUTH_MODE=token"
        ):
            start_ray(1, verbose=True)


@pytest.mark.parametrize(
    ("cpus", "workers", "worker_cpus", "warned"),
    [((2, 2), "1:4", 1, True), ((2, 2), "1:4", 2, True), ((2, 3), "1:4", 2, False), ((2, 2), "1", 1, False)],
)
def test_an_elastic_run_that_may_leave_no_cpu_to_read_with(monkeypatch, cpus, workers, worker_cpus, warned):
    nodes = [{"Alive": True, "Resources": {"CPU": float(n)}} for n in cpus]
    monkeypatch.setattr(capacity.ray, "nodes", lambda: [*nodes, {"Alive": False, "Resources": {"CPU": 9.0}}])
    monkeypatch.setattr(capacity.ray, "cluster_resources", lambda: {"CPU": float(sum(cpus))})
    config = tiny("store")
    config = replace(
        config, hardware=replace(config.hardware, workers=Workers.parse(workers), worker_cpus=worker_cpus)
    )
    said: list[str] = []
    check_capacity(config, said.append)
    assert [f"--worker-cpus (now {worker_cpus})" in text for text in said] == [True] * warned


def test_a_restart_is_told():
    console = Console(file=io.StringIO(), width=200)
    with TrainingProgress(console, 10, 0) as progress:
        progress.show([report(0), report(1), report(2)])
        progress.show([report(3), report(2), report(3)])
        progress.show([report(4)])
    lines = console.file.getvalue().splitlines()
    told = [line for line in lines if "started again" in line]
    assert told == [
        "step 4 is the last that was done; workers were started again and go on from the last checkpoint, "
        "with step 3"
    ]


@pytest.mark.processes
def test_ray_data_stays_quiet_where_it_is_first_used_after_ray_was_started():
    code = (
        "import logging, ray; ray.init = lambda **_: None\n"
        "from gte_ray.runtime.cluster import start_ray; start_ray(1, verbose=False)\n"
        "from gte_ray.runtime import pool\n"
        "pool.ray.data.from_items = lambda *_, **__: None; pool.as_dataset([1])\n"
        "print(logging.getLogger('ray.data').isEnabledFor(logging.WARNING))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=HANGS
    )
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_a_terminal_shows_numbers_and_paths_as_the_other_text():
    console = plain_console(file=(out := io.StringIO()), force_terminal=True, color_system="truecolor")
    console.print("200 steps on 1 worker(s): /home/me/model https://localhost:5000")
    assert out.getvalue() == "200 steps on 1 worker(s): /home/me/model https://localhost:5000\n"
