"""The order in which packages may import each other, and the one importer of each big dependency."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gte_ray"
ORDER = ["config", "data", "model", "train", "evaluation"]
SOLE_IMPORTERS = {
    "deepspeed": {"train/engine.py"},
    "mlflow": {"mlflow_run.py"},
    "bm25s": {"evaluation/bm25.py"},
    "mteb": {"benchmark/tasks.py", "benchmark/own.py", "benchmark/adapters.py", "benchmark/score.py"},
    "scipy": {"ablation/report.py"},
}


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def stage(module: str) -> int | None:
    parts = module.split(".")
    if parts[0] != "gte_ray" or len(parts) < 2 or parts[1] not in ORDER:
        return None
    return ORDER.index(parts[1])


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_flow_of_data(path):
    relative = path.relative_to(PACKAGE)
    own = stage("gte_ray." + ".".join(relative.with_suffix("").parts))
    if own is None:
        return  # entry points and what joins the stages
    later = {name for name in imports(path) if (stage(name) or 0) > own}
    assert not later


@pytest.mark.parametrize("dependency", SOLE_IMPORTERS)
def test_one_importer_for_each_big_dependency(dependency):
    importers = {
        str(path.relative_to(PACKAGE))
        for path in FILES
        if any(name.split(".")[0] == dependency for name in imports(path))
    }
    assert importers == SOLE_IMPORTERS[dependency]
