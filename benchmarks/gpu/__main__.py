"""Numerics, speed and memory of the training step on one GPU, in at most nine minutes and without Ray.

python -m benchmarks.gpu [SECTION ...] [--output FOLDER] [--minutes 9]
python -m benchmarks.gpu --device cpu --small      every section with tiny sizes: that it runs, not how fast

Writes gpu.json and gpu.md into the folder after each figure, so that nothing is lost where time runs out. Sections:
right, fast, split, peer, loss, encode.
"""

import argparse
import json
import platform
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import transformers

from benchmarks.gpu import fast, parts, right
from benchmarks.gpu.setup import Row, Rows, Setup

SECTIONS: dict[str, Callable[[Setup], Rows]] = {
    "right": right.rows,
    "loss": parts.loss,
    "split": fast.split,
    "peer": fast.peer,
    "encode": parts.encode,
    "fast": fast.rows,
}
"""In the order in which they run: those whose time is not bounded come last."""


def machine(device: torch.device) -> str:
    """What the figures were measured on."""
    if device.type == "cuda":
        name = f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    else:
        name = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    return f"{name}, torch {torch.__version__}, transformers {transformers.__version__}, Python {platform.python_version()}"


def markdown(where: str, found: dict[str, list[Row]]) -> str:
    lines = [where, "", "| section | what | figure | reach | holds |", "|---|---|---|---|---|"]
    for section, rows in found.items():
        for row in rows:
            holds = {True: "yes", False: "no", None: ""}[row.holds]
            lines.append(f"| {section} | {row.what} | {row.figure} | {row.reach} | {holds} |")
    return "\n".join(lines) + "\n"


def run(setup: Setup, chosen: list[str], output: Path) -> dict[str, list[Row]]:
    """All rows by section; a section that fails has a row that says so, and the next one begins."""
    found: dict[str, list[Row]] = {}
    where = machine(setup.device)
    for section in chosen:
        rows = found.setdefault(section, [])
        try:
            if setup.left < 0:
                rows.append(Row(section, "not run: the time is over"))
            else:
                for row in SECTIONS[section](setup):
                    if setup.small and section != "right":
                        row = replace(row, reach="", holds=None)
                    rows.append(row)
                    print(f"{section:7} {row.what}: {row.figure}", flush=True)
                    _write(output, where, found)
        except Exception as error:
            traceback.print_exc()
            what = " ".join(str(error).split())[:200]
            rows.append(Row(section, f"failed: {type(error).__name__}: {what}", None, "runs", False))
        _write(output, where, found)
    return found


def _write(output: Path, where: str, found: dict[str, list[Row]]) -> None:
    plain = {section: [vars(row) for row in rows] for section, rows in found.items()}
    (output / "gpu.json").write_text(json.dumps({"machine": where, "sections": plain}, indent=2) + "\n")
    (output / "gpu.md").write_text(markdown(where, found))


def main() -> None:
    begun = time.monotonic()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], metavar="SECTION")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--output", type=Path, default=Path("."))
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU; --device cpu --small tries the sections without one")
    given.output.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda", 0) if given.device == "cuda" else torch.device("cpu")
    with tempfile.TemporaryDirectory() as scratch:
        setup = Setup(device, given.small, begun + 60 * given.minutes, Path(scratch))
        found = run(setup, given.sections or list(SECTIONS), given.output)
    print("\n" + markdown(machine(device), found))
    if any(row.figure.startswith("failed: ") for rows in found.values() for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
