"""The order in which packages may import each other, and the one importer of each big dependency."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gte_ray"
README = PACKAGE.parent / "README.md"
SOLE_IMPORTERS = {
    "deepspeed": {"train/deepspeed_setup.py", "train/engine.py"},
    "mlflow": {"tracking/mlflow_run.py"},
    "bm25s": {"retrieval/bm25.py"},
    "mteb": {
        f"evaluation/mteb/{name}.py"
        for name in ("adapters", "benchmarks", "own", "score", "sentiment", "texts")
    },
    "datasketch": {"filtering/near.py"},
    "peft": {"model/lora.py"},
    "onnxruntime": {"exporting/onnx_file.py"},
    "fastwarc": {"readers/warc_rows.py"},
    "mwparserfromhell": {"readers/wikitext.py"},
    "py7zr": {"readers/seven_zip.py"},
    "resiliparse": {"readers/warc_rows.py"},
    "scipy": {"ablation/report.py"},
    "pydantic": {"config/typed.py"},
    "pydantic_core": {"config/typed.py"},
    "ray.tune": {"ablation/tune.py"},
    "tyro": {
        "cli/flags.py",
        "cli/model_flags.py",
        "config/sections.py",
        "config/fields.py",
        *(
            f"{name}.py"
            for name in (
                "evaluate",
                "export",
                "filter",
                "finetune",
                "merge",
                "mine",
                "prepare",
                "score",
                "search",
                "show",
                "sources",
                "warmup",
            )
        ),
    }
    | {"ablation/command.py"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(module: str) -> str:
    """The package, or the loose module, that `module` is in, empty for one of another project."""
    parts = module.split(".")
    return parts[1] if parts[0] == "gte_ray" and len(parts) > 1 else ""


def own_room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def floors() -> list[list[str]]:
    """The rooms in the order of the README's tree; those on one line are on one floor."""
    tree = README.read_text().split("```\ngte_ray/ ", 1)[1].split("```", 1)[0]
    lines = re.findall(r"^  ((?:\w+(?:\.py|/) ?)+)", tree, re.MULTILINE)
    return [[name.rstrip("/").removesuffix(".py") for name in line.split()] for line in lines]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_from_floors_below_its_own(path):
    level = {name: number for number, floor in enumerate(floors()) for name in floor}
    own = own_room(path)
    if own == "__init__":
        assert not {room(name) for name in imports(path)} - {""}
        return
    others = {room(name) for name in imports(path)} - {"", own}
    assert {name for name in others if level[name] >= level[own]} == set()


def test_the_readmes_tree_has_each_room_once():
    named = [name for floor in floors() for name in floor]
    assert sorted(named) == sorted({own_room(path) for path in FILES} - {"__init__"})


@pytest.mark.parametrize(
    "package", sorted({path.parent for path in FILES} - {PACKAGE}), ids=lambda path: path.name
)
def test_the_files_of_a_package_import_each_other_in_no_circle(package):
    prefix = "gte_ray." + ".".join(package.relative_to(PACKAGE).parts)
    edges = {
        path.stem: {name.split(".")[-1] for name in imports(path) if name.rpartition(".")[0] == prefix}
        for path in package.glob("*.py")
    }
    waiting = {stem: {other for other in found if other in edges} for stem, found in edges.items()}
    while ready := {stem for stem, found in waiting.items() if not found & waiting.keys()}:
        waiting = {stem: found for stem, found in waiting.items() if stem not in ready}
    assert waiting == {}


@pytest.mark.parametrize("dependency", SOLE_IMPORTERS)
def test_one_importer_for_each_big_dependency(dependency):
    importers = {
        str(path.relative_to(PACKAGE))
        for path in FILES
        if any(f"{name}.".startswith(f"{dependency}.") for name in imports(path))
    }
    assert importers == SOLE_IMPORTERS[dependency]


@pytest.mark.processes
def test_the_command_of_a_training_imports_no_model():
    """Transformers takes 2 s to import and DeepSpeed 2 more, which a run waits for where its workers need them too."""
    modules = "gte_ray.cli.training, gte_ray.cli.tables, gte_ray.runs.execute, gte_ray.runs.forecast"
    code = (
        f"import sys, {modules}; print(sorted({{'transformers', 'deepspeed', 'mlflow'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=README.parent, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
