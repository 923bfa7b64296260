"""The commands that the READMEs show: each names what exists, with flags that are taken."""

import importlib
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import tyro

REPOSITORY = Path(__file__).parents[1]
SHELL = ("cluster/local/", "docker ", "export ", "grep ", "kubectl ", "make ", "mlflow ", "python ", "ray ")


def commands() -> list[str]:
    """Each command in the shell blocks of the READMEs, in one line and without its comment."""
    found = []
    for readme in ("README.md", "cluster/README.md"):
        text = (REPOSITORY / readme).read_text()
        for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            if not language and block.startswith(SHELL):
                lines = block.replace("\\\n", " ").splitlines()
                found += [line for line in (re.sub(r"(^| )# .*", "", line).strip() for line in lines) if line]
    return found


class Taken(Exception):
    """A command's flags were taken; nothing else of it runs."""


def stop_after(function: Callable) -> Callable:
    def parse(*arguments, **options):
        function(*arguments, **options)
        raise Taken

    return parse


def check_python(monkeypatch, words: list[str]) -> None:
    """`-m MODULE` or a script of ours, which must take the flags."""
    if words[0] == "-m":
        module, words = importlib.import_module(words[1]), words[2:]
        main = module.main
    else:
        assert words[0] == "ablations/run.py"
        module, words = importlib.import_module("gte_ray.ablation.command"), words[1:]

        def main() -> None:
            module.main(REPOSITORY / "ablations")

        if words[0] != "--list":
            assert (REPOSITORY / f"ablations/{words[words[0] == 'report']}.py").is_file()
    monkeypatch.setattr("sys.argv", ["program", *words])
    if hasattr(module, "parse"):
        monkeypatch.setattr(module, "parse", stop_after(module.parse))
    else:
        monkeypatch.setattr(module, "tyro", SimpleNamespace(cli=stop_after(tyro.cli), conf=tyro.conf))
    with pytest.raises(Taken):
        main()


def check_ray(words: list[str]) -> None:
    """Ray's own command line must have the command and its flags."""
    from ray.scripts.scripts import cli

    command = cli
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    flags = {flag for parameter in command.params for flag in parameter.opts}
    assert {word for word in words if word.startswith("--") and word != "--"} <= flags


def check_files(words: list[str]) -> None:
    for word in words:
        if word.startswith("cluster/"):
            assert list(REPOSITORY.glob(word)), word


@pytest.mark.parametrize("command", commands())
def test_a_command_of_a_readme_exists(command, monkeypatch):
    words = shlex.split(command)
    while "=" in words[0]:  # the environment
        words.pop(0)
    program, *words = words
    check_files([program, *words])
    if program == "python":
        check_python(monkeypatch, words)
    elif program == "ray":
        inner = words[words.index("--") + 1 :] if "--" in words else []
        check_ray(words[: len(words) - len(inner)])
        if inner:
            assert inner.pop(0) == "python"
            check_python(monkeypatch, inner)
    elif program == "make":
        done = subprocess.run(["make", "--dry-run", *words], cwd=REPOSITORY, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    elif program == "grep":
        files = [str(file) for word in words[2:] for file in REPOSITORY.glob(word)]
        assert subprocess.run([program, *words[:2], *files], capture_output=True).stdout
    elif program == "sbatch":
        check_python(monkeypatch, ["-m", "gte_ray.pretrain", *words[words.index("--recipe") :]])
    else:
        assert program in ("docker", "export", "kubectl", "mlflow", "source") or program.startswith(
            "cluster/local/"
        )


def test_what_the_table_of_the_data_names_exists():
    table = (REPOSITORY / "gte_ray/data/README.md").read_text()
    names = re.findall(r"^\| `([\w.]+)` \|", table, re.MULTILINE)
    assert len(names) > 15
    for name in names:
        module, *attributes = name.split(".")
        if module[0].isupper():  # a method of a class that stands above
            module, attributes = {"Store": "store", "Batch": "step_plan"}[module], [module, *attributes]
        package = "gte_ray.data"
        if module == "readers":
            package, module, *attributes = "gte_ray.readers", *attributes
        found = importlib.import_module(f"{package}.{module}")
        for attribute in attributes:
            found = getattr(found, attribute)


def test_there_are_commands():
    programs = {command.split()[0] for command in commands()}
    assert {"python", "ray", "make", "kubectl", "sbatch", "cluster/local/up"} <= programs
