"""The wheel: it holds the package and nothing else, and trains where there is no checkout."""

import json
import os
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.commands import SMALL

REPOSITORY = Path(__file__).parents[1]


def sources() -> list[str]:
    """The files that a wheel is made of, as git knows them."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "gte_ray"]
    found = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    return [path for path in found.splitlines() if (REPOSITORY / path).exists()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy: in the checkout, what an earlier build left would come into it."""
    copy, out = (tmp_path_factory.mktemp(name) for name in ("copy", "wheel"))
    for path in (*sources(), "pyproject.toml", "README.md", "LICENSE"):
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / path, copy / path)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    build = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(out), str(copy)]
    subprocess.run(build, check=True, timeout=120)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """The interpreter of an environment with the wheel and the dependencies, but not the checkout."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    interpreter = folder / "bin/python"
    pip = [sys.executable, "-m", "pip", "--python", str(interpreter), "install"]
    subprocess.run([*pip, "--no-deps", "--no-index", "--quiet", str(wheel)], check=True, timeout=120)
    (packages,) = folder.glob("lib/python*/site-packages")
    # The .pth files of a folder that a .pth file names are not read, so that of the editable install is not.
    (packages / "dependencies.pth").write_text("".join(f"{path}\n" for path in site.getsitepackages()))
    return interpreter


def run(python: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    outside = ("PYTHONPATH", "RAY_ADDRESS", "MLFLOW_TRACKING_URI", "VIRTUAL_ENV")
    environment = {k: v for k, v in os.environ.items() if k not in outside} | {"COLUMNS": "160"}
    return subprocess.run(
        [str(python), *arguments], capture_output=True, text=True, cwd=cwd, timeout=250, env=environment
    )


def test_the_wheel_has_every_module_the_catalogue_the_licence_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    inside = {name for name in names if ".dist-info/" not in name}
    assert inside == {path for path in sources() if path.endswith((".py", ".toml"))}
    assert {name.split(".dist-info/")[1] for name in names if ".dist-info/" in name} == {
        "METADATA", "RECORD", "WHEEL", "licenses/LICENSE", "top_level.txt",
    }  # fmt: skip


def test_the_wheel_trains_from_an_empty_folder(python, tiny_store, tmp_path):
    where = run(python, "-c", "import gte_ray; print(gte_ray.__file__)", cwd=tmp_path)
    assert Path(where.stdout.strip()).is_relative_to(python.parents[1]), where.stdout + where.stderr
    flags = ["--store", tiny_store, *SMALL, "--name", "run"]
    done = run(python, "-m", "gte_ray.pretrain", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "step 8/8" in done.stdout
    assert done.stderr == ""  # also where MLflow makes its database
    results = json.loads((tmp_path / "runs/run/results.json").read_text())
    assert [row["source"] for row in results["scores"]["after"]] == ["large", "middle"]
    assert (tmp_path / "runs/run/model/model.safetensors").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "mlflow.db", "mlartifacts"}
