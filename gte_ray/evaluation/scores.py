"""The final scores of a run."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from gte_ray.evaluation.heldout import SourceScores, mean_scores
from gte_ray.evaluation.seen import Seen
from gte_ray.retrieval.metrics import Retrieval

Numbered = tuple[tuple[int, tuple[SourceScores, ...]], ...]
MEANS = "heldout"
"""Group of the means over sources among the metrics in MLflow."""
Steps = Numbered
"""Numbers of steps and the scores of the model after them, in step order."""


@dataclass(frozen=True)
class Scores:
    """Held-out retrieval scores by source: the model before and after training, BM25 on the same texts."""

    before: tuple[SourceScores, ...]
    after: tuple[SourceScores, ...]
    bm25: tuple[SourceScores, ...]
    steps: Steps = ()
    """Scores at the steps that `run.eval` names, without the last step."""
    seen: tuple[Seen, ...] = ()
    """Shares of the held-out texts that were also trained on; empty in the results of older versions."""
    dimensions: Numbered = ()
    """Numbers of first dimensions that were trained as embeddings of their own, downwards, and the scores after training
    with these alone; without those of the whole, which are `after`."""

    benchmark: str = ""
    """Name of the benchmark that `run.eval` names; empty for the held-out pairs."""
    benchmark_steps: tuple[tuple[int, dict[str, float]], ...] = ()
    """Numbers of steps, the last one too, and the main score of each task after them and of all the mean, from 0 to 1."""
    benchmark_errors: tuple[str, ...] = ()
    """Why tasks have no score after the last step."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def of_model(self, step: int, last_step: int, dimensions: int) -> "Scores | None":
        """Return the held-out scores after `step`, with the first `dimensions` (0 for all); None if there are none."""
        if dimensions:
            rows = dict(self.dimensions).get(dimensions) if step == last_step else None
        else:
            rows = self.after if step == last_step else dict(self.steps).get(step)
        if not rows:
            return None
        of_all = self.dimensions if step == last_step and not dimensions else ()
        before = () if dimensions else self.before
        return Scores(before, rows, self.bm25, seen=self.seen, dimensions=of_all)

    def metrics(self, last_step: int) -> Iterator[tuple[int, dict[str, float]]]:
        """Yield steps in order, with their metrics by the names that MLflow shows."""
        for step, rows in self.steps:
            yield step, named(rows)
        for step, scores in self.benchmark_steps:
            yield step, {f"{self.benchmark}/{task}": score for task, score in scores.items()}
        last = named(self.before, "_before") | named(self.bm25, "_bm25") | named(self.after)
        for k, rows in self.dimensions:
            last |= named(rows, f"_dim{k}")
        last |= {f"seen_documents/{row.source}": row.documents for row in self.seen}
        last |= {f"seen_pairs/{row.source}": row.pairs for row in self.seen}
        if last:
            yield last_step, last


def named(rows: Sequence[SourceScores], suffix: str = "") -> dict[str, float]:
    """Return the means of all metrics and those of each source, by the names that MLflow shows, grouped by their beginning."""
    if not rows:
        return {}
    mean, measures = mean_scores(rows), [measure.name for measure in fields(Retrieval)]
    named = {f"{MEANS}/{name}{suffix}": getattr(mean, name) for name in measures}
    return named | {f"{name}{suffix}/{row.source}": getattr(row, name) for row in rows for name in measures}
