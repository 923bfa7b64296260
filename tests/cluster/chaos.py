"""python -m tests.cluster.chaos: a run that is killed again and again, and whether it comes to the same.

One kill is of a training worker, a node (with all its processes), the command itself, or Ray Train's controller.
Prints a table: at which step, of what, and the seconds until a step later than any before was done.
"""

import argparse
import random
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import safe_open

from gte_ray.config import from_dict
from gte_ray.data.ids import Ids
from gte_ray.data.prepare_store import prepare
from gte_ray.model.weights_file import WEIGHTS_FILE
from gte_ray.readers.spec import SourceSpec
from gte_ray.runtime import storage
from gte_ray.train.checkpoints import last_checkpoint
from tests.cluster.nodes import Nodes, Training
from tests.data.conftest import make_pairs, write_lines
from tests.train.reference import Step, assert_same, reference, steps_done

KINDS = ("worker", "node", "driver", "controller")
EVERY = 20
"""Steps between checkpoints."""
CPUS = 3
"""Logical CPUs of a node: one worker with two, and one to read data with."""


@dataclass(frozen=True)
class Kill:
    """What was killed, and how long it took to get further than before."""

    kind: str
    step: int
    seconds: float


def arguments(store: str, steps: int, workers: str = "2", every: int = EVERY) -> list[str]:
    """Flags of a run whose steps are quick."""
    return [
        *("--store", store, "--steps", str(steps), "--global-batch", "12", "--learning-rate", "1e-3"),
        *("--hidden-size", "16", "--layers", "1", "--heads", "2", "--intermediate-size", "32"),
        *("--max-length", "16", "--checkpoint-every", str(every), "--eval-limit", "20"),
        *("--threads", "1", "--worker-cpus", "2", "--workers", workers, "--max-failures", "100"),
    ]


def disturb(training: Training, kinds: list[str], steps: int, seed: int) -> list[Kill]:
    """Kills one after another, at random steps spread over what is left of the run, and waits for the end."""
    choose, kills = random.Random(seed), []
    first = max(0, _last(training))
    for number, kind in enumerate(kinds):
        at = first + (number + choose.random()) * (steps - 2 * EVERY - first) / len(kinds)
        training.wait(lambda at=at: _last(training) >= at)
        before, begun = _last(training), time.monotonic()
        training.kill(kind, choose)
        training.wait(lambda before=before: _last(training) > before)
        kills.append(Kill(kind, before, time.monotonic() - begun))
        check_checkpoint(training.folder)
    training.finish()
    return kills


def _last(training: Training) -> int:
    return max((step.number for step in steps_done(training.history)), default=-1)


def check_checkpoint(run_folder: str) -> None:
    """Reads the last checkpoint that is registered."""
    result = last_checkpoint(run_folder)
    if result is not None:
        with result.checkpoint.as_directory() as folder, safe_open(f"{folder}/{WEIGHTS_FILE}", "pt") as file:
            assert all(file.get_tensor(name).isfinite().all() for name in file.keys())  # noqa: SIM118


def expected(run_folder: str, store: str) -> list[Step]:
    """The steps of the same run in one plain process; `store` is its pair store or a copy."""
    config = from_dict(storage.read_json(f"{run_folder}/config.json")["config"])
    return reference(replace(config, data=replace(config.data, store=store)))


def make_store(folder: Path) -> str:
    """Three sources of unlike sizes."""
    sources = []
    for number, (name, rows) in enumerate({"large": 2_500, "middle": 211, "small": 17}.items()):
        path = write_lines(folder / f"{name}.jsonl", [list(pair) for pair in make_pairs(rows, seed=number)])
        sources.append(SourceSpec(name, str(path), "others"))
    return prepare(str(folder / "store"), sources, ids=Ids(vocabulary=300, max_length=24)).uri


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    choose = random.Random(options.seed)
    kinds = [KINDS[number % len(KINDS)] for number in range(options.kills)]
    choose.shuffle(kinds)
    steps = 40 * options.kills
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder))
        with Nodes(3, CPUS) as nodes:
            training = Training(nodes, Path(folder), arguments(store, steps))
            kills = disturb(training, kinds, steps, options.seed)
        done = steps_done(training.history)
        assert_same(done, expected(training.folder, store))
    print("| kill | after step | s until further than before |\n|---|---|---|")
    for kill in kills:
        print(f"| {kill.kind} | {kill.step} | {kill.seconds:.1f} |")
    print(
        f"\n{len(kills)} kills, {steps} steps, of which {len(done) - steps} were done again; the command was given "
        f"{training.starts} times. Every step had the batch and the loss (1e-4) of the run in one plain process."
    )


if __name__ == "__main__":
    main()
