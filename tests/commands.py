"""Small runs as commands."""

import os
import subprocess
import sys
from pathlib import Path

SMALL = [
    *("--steps", "8", "--global-batch", "16", "--hidden-size", "16", "--layers", "1", "--heads", "2"),
    *("--intermediate-size", "32", "--vocab-size", "300", "--max-length", "16", "--checkpoint-every", "4"),
    *("--threads", "1"),
]


def command(module: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    """The command in a process and a Ray of its own."""
    environment = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    return subprocess.run(
        [sys.executable, "-m", f"gte_ray.{module}", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=250,
        env=environment | {"COLUMNS": "160"},
    )
