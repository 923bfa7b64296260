"""From the rows of an ablation to the runs that they need. Nothing here trains or knows of Ray."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from gte_ray.ablation.study import Row
from gte_ray.run import Run, plan_run
from gte_ray.weights import of_run


@dataclass(frozen=True)
class Trial:
    """One run; rows that differ in nothing but the step at which they are scored share it."""

    run: Run
    label: str
    """The first of its rows, and the seed where there are several."""
    after: str = ""
    """Fingerprint of the trial whose model it starts from; empty where it does not wait for one."""


@dataclass(frozen=True)
class Cell:
    """Where the score of one row under one seed comes from."""

    row: str
    x: float | None
    paper: float | None
    seed: int
    step: int
    """Steps after which the score is taken."""
    fingerprint: str
    """Of the run."""
    series: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def expand(rows: Sequence[Row], seeds: int) -> tuple[list[Trial], list[Cell]]:
    """The trials without repetition, in the rows' order, and a cell for each row and seed.

    Seeds are the outer loop, so that a whole table is there early. Opens the rows' stores.
    """
    trials: dict[str, Trial] = {}
    cells = []
    for number in range(seeds):
        for row in rows:
            seed = row.config.seed + number
            label = row.name if seeds == 1 else f"{row.name}, seed {seed}"
            config, identity, after = replace(row.config, seed=seed), "", ""
            pooling: Any = "base"
            if row.first is not None:
                first = plan_run(replace(row.first, seed=seed))
                trials.setdefault(first.fingerprint, Trial(first, f"{label}, first stage"))
                config = replace(config, model=replace(config.model, base=first.model_folder))
                identity, after = of_run(first.fingerprint), first.fingerprint
                pooling = first.config.model.pooling
            run = plan_run(config, identity, pooling)
            trials.setdefault(run.fingerprint, Trial(run, label, after))
            step = row.config.training.steps if row.step is None else row.step
            cells.append(Cell(row.name, row.x, row.paper, seed, step, run.fingerprint, row.series))
    return list(trials.values()), cells
