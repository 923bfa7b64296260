"""`make bench`: runs all measurements, prints a table and writes benchmarks/results.json."""

import importlib
import json
import platform
import sys
from pathlib import Path

import torch
from rich.table import Table

from gte_ray.cli.console import plain_console

MODULES = (
    "readers",
    "joins",
    "prepare",
    "stream",
    "loss",
    "step",
    "backbones",
    "mining",
    "encode",
    "checkpoints",
    "startup",
)


def main(chosen: list[str]) -> None:
    rows = []
    for name in chosen or MODULES:
        rows += importlib.import_module(f"benchmarks.{name}").measure()
    table = Table(title=f"{platform.machine()}, torch {torch.__version__}", title_justify="left")
    for column in ("what", "figure", "reach", "holds"):
        table.add_column(column)
    for row in rows:
        table.add_row(row["what"], row["figure"], row["reach"], row["holds"])
    plain_console().print(table)
    (Path(__file__).parent / "results.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
