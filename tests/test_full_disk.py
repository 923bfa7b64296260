"""What a run does on a disk that is full: to the end."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gte_ray.runs.history import History
from gte_ray.train.checkpoints import last_checkpoint
from gte_ray.train.step_report import StepReport
from tests.cluster.chaos import check_checkpoint, expected
from tests.commands import SMALL
from tests.train.reference import assert_same, steps_done


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can make a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(path: Path) -> None:
    """Writes until there is no room left."""
    with path.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(512))


def full_before_the_second_checkpoint(run: Path, filler: Path) -> Callable:
    """As `History.append`; workers write no checkpoint before the steps up to it are kept there."""
    append = History.append

    def append_and_fill(history: History, reports: list[StepReport]) -> None:
        append(history, reports)
        if reports[-1].step == 7:
            while last_checkpoint(str(run)) is None:
                time.sleep(0.1)
            fill(filler)

    return append_and_fill


def test_a_full_disk_costs_nothing_but_time(here, workplace, small_disk, monkeypatch):
    run, filler = small_disk / "run", small_disk / "filler"
    flags = ["--store", "store", *SMALL, "--steps", "12", "--output", str(small_disk), "--name", "run"]
    flags += ["--max-failures", "0"]
    with monkeypatch.context() as patch:
        patch.setattr(History, "append", full_before_the_second_checkpoint(run, filler))
        code, _, err = here("pretrain", *flags)
    assert code == 1
    last = err.strip().splitlines()[-1]
    assert last.startswith("error: ") and "no space is left on the device" in last
    check_checkpoint(str(run))
    filler.unlink()
    before = len(steps_done(run / "history.jsonl"))
    code, _, err = here("pretrain", *flags)
    assert code == 0, err
    done = steps_done(run / "history.jsonl")
    assert done[before].number == 4, "not from the last checkpoint"
    assert_same(done, expected(str(run), str(workplace / "store")))
