"""What the rows of an ablation are compared by: held-out pairs, or a benchmark that the trained models are scored on."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from gte_ray.data.hashing import digest
from gte_ray.errors import UsageError
from gte_ray.evaluation.benchmark_names import HELD_OUT, MTEB, load_benchmark, resolved
from gte_ray.evaluation.scores import MEANS


@dataclass(frozen=True)
class Metric:
    """A score for each row, and parts of which it is the mean."""

    benchmark: str = HELD_OUT
    """A word, or the absolute path of a folder."""
    label: str = "held-out nDCG@10"
    """How it is called in tables, which have it in percent."""
    parts: str = "ndcg_at_10"
    """Group of the parts' scores among the metrics in MLflow: those of sources, tasks or categories."""
    mean: str = f"{MEANS}/ndcg_at_10"
    """The metric in MLflow that is the mean of the parts."""
    max_length: int = 0
    """Tokens at which a benchmark's texts are cut; 0 for where each model's folder says."""

    @property
    def is_held_out(self) -> bool:
        return self.benchmark == HELD_OUT

    @property
    def is_the_papers(self) -> bool:
        """Whether it is what the paper's tables have."""
        return self.benchmark == MTEB


HELD_OUT_PAIRS = Metric()


def parse_metrics(names: Sequence[str], max_length: int) -> tuple[Metric, ...]:
    """The metrics of the flags `--metric` and `--metric-length`, which is of the benchmarks among them; see `parse_metric`."""
    if len(set(names)) < len(names):
        raise UsageError(f"--metric is {' '.join(names)!r}; allowed is each once")
    only_held_out = set(names) <= {HELD_OUT}
    return tuple(
        parse_metric(name, 0 if name == HELD_OUT and not only_held_out else max_length)
        for name in names or (HELD_OUT,)
    )


def parse_metric(name: str, max_length: int) -> Metric:
    """The metric of one name.

    Raises UsageError for what is no benchmark, and RunError for one that cannot be scored.
    """
    if max_length < 0:
        raise UsageError(f"--metric-length is {max_length}; allowed is a number of tokens, or 0")
    if name == HELD_OUT:
        if max_length:
            raise UsageError("--metric-length is of a benchmark; held-out pairs are cut as in training")
        return HELD_OUT_PAIRS
    place = resolved(name)
    suite = load_benchmark("--metric", place, check=True)
    label = suite.name + (f" at {max_length} tokens" if max_length else "")
    group = re.sub(r"[^\w.-]+", "-", f"{suite.name}-{max_length}" if max_length else suite.name)
    if os.sep in place:
        # A folder: of any name, and with other content another metric.
        revision = digest(place, *(task.metadata.dataset["revision"] for task in suite.tasks))
        group = f"folder-{group}-{revision[:6]}"
    return Metric(place, label, group, f"{group}/average", max_length)
