"""The cost of checkpoints in a run of `make pretrain`'s size at its default interval.

It is computed from the times of the run's steps in MLflow.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from mlflow import MlflowClient

from gte_ray.recipes.paper import tiny

AFTER = 5
"""Steps after a checkpoint that it may slow: the first waits for it, the others run during its upload."""


def measure() -> list[dict[str, str]]:
    """Extra time of the steps after checkpoints, as a share of the time from the first to the last step."""
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        command = [sys.executable, "-m", "gte_ray.pretrain", "--name", "run", "--output", folder]
        subprocess.run([*command, "--tracking-uri", uri], check=True)
        share, each = cost(f"{folder}/run", uri)
    return [
        {
            "what": f"checkpoints every {tiny('').run.checkpoint_every} steps",
            "figure": f"{share:.2%} of the run, {each:.2f} s each",
            "reach": "<= 3%",
            "holds": "yes" if share <= 0.03 else "no",
        }
    ]


def cost(run_folder: str, uri: str) -> tuple[float, float]:
    """Cost as a share of the run and in seconds per checkpoint, for the only run in MLflow at `uri`."""
    lines = (Path(run_folder) / "history.jsonl").read_text().splitlines()
    sources = [json.loads(line)[1] for line in lines]
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("gte_ray").experiment_id])
    rates = client.get_metric_history(run.info.run_id, "speed/pairs_per_second")
    config = tiny("")
    seconds = [config.training.global_batch / rate.value for rate in sorted(rates, key=lambda r: r.step)]
    every = config.run.checkpoint_every
    after = {step + extra for step in range(every, len(seconds), every) for extra in range(AFTER)}
    usual = defaultdict(list)
    for step in range(1, len(seconds)):
        if step not in after:
            usual[sources[step]].append(seconds[step])
    longer = [seconds[step] - statistics.median(usual[sources[step]]) for step in sorted(after)]
    return sum(longer) / sum(seconds[1:]), sum(longer) * AFTER / len(after)


if __name__ == "__main__":
    for row in measure():
        print(row)
