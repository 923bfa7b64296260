"""As `python -m gte_ray.pretrain`, for tests: its passes over the data are short, it looks for room more often, and
while there is a file `slow` in TMPDIR, a step takes as many seconds as it says from SLOW_FROM on."""

import functools
import os
import runpy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gte_ray.runs.plan as run
import gte_ray.train.launch as launch

SLOW_FROM = 30


def slowed(train: Callable[[], Any], slow: Path) -> Any:
    """What a worker runs."""
    import gte_ray.train.loop as loop

    def train_step(engine: Any, batch: Any, *more: Any) -> Any:
        begun = time.monotonic()
        while (
            batch.step >= SLOW_FROM and slow.exists() and time.monotonic() < begun + float(slow.read_text())
        ):
            time.sleep(0.05)
        return step(engine, batch, *more)

    step, loop.train_step = loop.train_step, train_step
    return train()


def trainer(train: Callable[[], Any], **settings: Any) -> Any:
    return TorchTrainer(functools.partial(slowed, train, Path(os.environ["TMPDIR"], "slow")), **settings)


if __name__ == "__main__":
    TorchTrainer, launch.TorchTrainer = launch.TorchTrainer, trainer
    run.StreamConfig = functools.partial(run.StreamConfig, pass_steps=100)
    launch.START_SECONDS, launch.RESIZE_SECONDS = 8, 1.0
    runpy.run_module("gte_ray.pretrain", run_name="__main__")
