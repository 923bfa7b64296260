"""Every shell script below cluster/."""

import subprocess
import sys
from pathlib import Path

import pytest

CLUSTER = Path(__file__).parents[2] / "cluster"
SHELLCHECK = Path(sys.executable).parent / "shellcheck"


def is_shell(path: Path) -> bool:
    if path.suffix in (".sh", ".sbatch"):
        return True
    with open(path, "rb") as file:
        first = file.readline(100).split()
    return bool(first) and first[0].startswith(b"#!") and first[-1].rpartition(b"/")[2] in (b"bash", b"sh")


SCRIPTS = sorted(path for path in CLUSTER.rglob("*") if path.is_file() and is_shell(path))


def test_there_are_scripts():
    assert CLUSTER / "slurm/pretrain.sbatch" in SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.relative_to(CLUSTER)))
def test_bash_and_shellcheck_find_no_fault(script):
    for command in (["bash", "-n", script], [SHELLCHECK, script]):
        found = subprocess.run(command, capture_output=True, text=True)
        assert found.returncode == 0, found.stdout + found.stderr
