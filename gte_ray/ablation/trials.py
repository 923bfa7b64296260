"""Plan the trials of an ablation's rows. Nothing here trains or uses Ray."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from gte_ray.ablation.study import Row
from gte_ray.config import Config, Pooling
from gte_ray.pretrained.identity import of_run
from gte_ray.runs.plan import Run, plan_run


@dataclass(frozen=True)
class Trial:
    """One row with one seed, and the planned run that provides its scores."""

    row: Row
    label: str
    """The row's name, and the seed if there are several."""
    seed: int
    run: Run
    first: "Trial | None" = None
    """The previous stage, whose model `run` starts from."""

    @property
    def step(self) -> int:
        """Number of steps after which the score is taken."""
        return self.row.config.training.steps if self.row.step is None else self.row.step

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the run; trials that differ only in the step of their scores share it."""
        return self.run.fingerprint

    def to_dict(self) -> dict[str, Any]:
        """Return what a report needs."""
        row = self.row
        return {
            "row": row.name,
            "x": row.x,
            "paper": row.paper,
            "seed": self.seed,
            "step": self.step,
            "fingerprint": self.fingerprint,
            "series": row.series,
            "paper_parts": dict(row.paper_parts),
        }


def plan_trials(rows: Sequence[Row], seeds: int) -> list[Trial]:
    """Return a trial for each row and seed; opens the rows' stores and plans each run.

    Seeds are the outer loop, so that a whole table is complete early.
    """
    return [
        _plan(row, row.config.seed + number, label=_label(row, number, seeds))
        for number in range(seeds)
        for row in rows
    ]


def to_run(trials: Iterable[Trial]) -> list[Trial]:
    """Return one trial per distinct run that `trials` need; first stages precede what starts from them."""
    distinct: dict[str, Trial] = {}
    for trial in trials:
        for stage in (trial.first, trial):
            if stage is not None:
                distinct.setdefault(stage.fingerprint, stage)
    return list(distinct.values())


def _label(row: Row, number: int, seeds: int) -> str:
    return row.name if seeds == 1 else f"{row.name}, seed {row.config.seed + number}"


def _plan(row: Row, seed: int, label: str) -> Trial:
    config = replace(row.config, seed=seed)
    if row.first is None:
        return Trial(row, label, seed, plan_run(config))
    stage = replace(row, config=row.first, first=None, step=None)
    first = _plan(stage, seed, f"{label}, first stage")
    run = _plan_second(config, first.run)
    return Trial(row, label, seed, run, first)


def _plan_second(config: Config, first: Run) -> Run:
    """Plan the run that starts from the model that `first` will make."""
    config = replace(config, model=replace(config.model, base=first.model_folder))
    pooling: Pooling | Literal["base"] = first.config.model.pooling
    return plan_run(config, of_run(first.fingerprint), pooling)
