"""What a run does on a disk that is full: on a real cluster, to the end."""

import subprocess
from pathlib import Path

import pytest

from tests.cluster.chaos import EVERY, arguments, check_checkpoint, expected
from tests.cluster.nodes import Training
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


def test_a_full_disk_costs_nothing_but_time(nodes, small_disk, tiny_store, tmp_path):
    """The run goes on with one worker instead of two."""
    flags = [*arguments(tiny_store, 160, workers="2"), "--max-failures", "0"]
    training = Training(nodes, tmp_path, flags, runs=str(small_disk / "runs"))
    training.wait(lambda: training.done() > 2 * EVERY)
    fill(small_disk / "filler")
    assert training.process.wait(120) == 1
    last = training.console.strip().splitlines()[-1]
    assert last.startswith("error: ") and "no space is left on the device" in last
    check_checkpoint(training)
    (small_disk / "filler").unlink()
    before = len(steps_done(training.history))
    training.command[training.command.index("--workers") + 1] = "1"
    training.start()
    training.finish()
    done = steps_done(training.history)
    assert done[before].number >= EVERY, "begun from the start"
    assert_same(done, expected(training.folder))
