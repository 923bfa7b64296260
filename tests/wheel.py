"""The wheel, and an environment that has it and not the checkout."""

import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

from tests.commands import HANGS

REPOSITORY = Path(__file__).parents[1]


def sources() -> list[str]:
    """The files that a wheel is made of, as git knows them."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "gte_ray"]
    found = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    return [path for path in found.splitlines() if (REPOSITORY / path).exists()]


def build(folder: Path) -> Path:
    """The wheel, built from a copy: in the checkout, what an earlier build left would come into it."""
    copy, out = folder / "copy", folder / "wheel"
    for path in (*sources(), "pyproject.toml", "README.md", "LICENSE"):
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / path, copy / path)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(out), str(copy)]
    subprocess.run(command, check=True, timeout=HANGS)
    (built,) = out.iterdir()
    return built


def environment(folder: Path, wheel: Path) -> Path:
    """The interpreter of an environment in `folder` with the wheel and the dependencies, but not the checkout."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    interpreter = folder / "bin/python"
    pip = [sys.executable, "-m", "pip", "--python", str(interpreter), "install"]
    subprocess.run([*pip, "--no-deps", "--no-index", "--quiet", str(wheel)], check=True, timeout=HANGS)
    (packages,) = folder.glob("lib/python*/site-packages")
    # The .pth files of a folder that a .pth file names are not read, so that of the editable install is not.
    (packages / "dependencies.pth").write_text("".join(f"{path}\n" for path in site.getsitepackages()))
    return interpreter


def run(python: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    """`python` with `arguments` and without what this process's environment says of a checkout, Ray or MLflow."""
    outside = ("PYTHONPATH", "RAY_ADDRESS", "MLFLOW_TRACKING_URI", "VIRTUAL_ENV")
    given = {k: v for k, v in os.environ.items() if k not in outside} | {"COLUMNS": "160"}
    command = [str(python), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=HANGS, env=given)
