"""What a run does on a disk that is full: to the end."""

import subprocess

import pytest

from tests.cluster.chaos import check_checkpoint, expected
from tests.commands import SMALL
from tests.train.reference import assert_same, steps_done

MOST_BYTES, ROOM_BYTES = 4 * 2**20, 220 * 2**10
"""Of the disk, and of that beside other files: enough for the first checkpoint, of 150 KB, and not for the second."""


@pytest.fixture
def small_disk(tmp_path):
    """A file system that has little room left."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={MOST_BYTES}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can make a small file system")
    (folder / "filler").write_bytes(bytes(MOST_BYTES - ROOM_BYTES))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_costs_nothing_but_time(here, small_disk):
    run = small_disk / "run"
    flags = ["--store", "store", *SMALL, "--steps", "12", "--output", str(small_disk), "--name", "run"]
    flags += ["--max-failures", "0"]
    code, _, err = here("pretrain", *flags)
    assert code == 1
    last = err.strip().splitlines()[-1]
    assert last.startswith("error: ") and "no space is left on the device" in last
    check_checkpoint(str(run))
    (small_disk / "filler").unlink()
    before = len(steps_done(run / "history.jsonl"))
    code, _, err = here("pretrain", *flags)
    assert code == 0, err
    done = steps_done(run / "history.jsonl")
    assert done[before].number == 4, "not from the checkpoint that there was room for"
    assert_same(done, expected(str(run)))
