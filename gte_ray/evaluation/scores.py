"""The scores that a run ends with."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from gte_ray.evaluation.heldout import SourceScores, mean_scores
from gte_ray.evaluation.metrics import Retrieval


@dataclass(frozen=True)
class Scores:
    """Held-out retrieval by source: the model before and after training, and BM25 on the same texts."""

    before: tuple[SourceScores, ...]
    after: tuple[SourceScores, ...]
    bm25: tuple[SourceScores, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(saved: dict[str, Any]) -> "Scores":
        return Scores(**{name: tuple(SourceScores(**row) for row in rows) for name, rows in saved.items()})

    def metrics(self) -> dict[str, float]:
        """By the names that MLflow shows; empty where nothing was scored."""
        found = {}
        for when in ("before", "after", "bm25"):
            rows = getattr(self, when)
            suffix = "" if when == "after" else f"_{when}"
            for row in (*rows, mean_scores(rows)) if rows else ():
                for measure in fields(Retrieval):
                    found[f"{measure.name}{suffix}/{row.source}"] = getattr(row, measure.name)
        return found
