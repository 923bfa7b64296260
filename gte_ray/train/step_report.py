"""What training reports about its steps. Imports no torch, so processes that only relay it start fast."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StepMetrics:
    """Metrics of one step over all ranks."""

    loss: float
    """Mean over the pairs (eq. 5)."""
    accuracy: float
    """Share of the queries to which no document of the batch is closer than their own."""
    masked_share: float
    """Share of the documents of other pairs, hard negatives included, that were no negatives: of duplicates, or likely
    relevant."""
    grad_norm: float
    """Before clipping; not finite if the step was skipped."""
    learning_rate: float
    overflow: bool
    """Whether fp16 gradients overflowed, so that the step was skipped."""
    loss_scale: float
    """Scale of the loss under fp16, else 1."""
    tokens: int
    """Real tokens of all texts."""
    computed_tokens: int
    """Tokens of all texts, padding included."""
    pairs: int
    digest: int
    """Digest of all texts of the batch: equal for equal batches on any number of ranks."""
    distillation: float = 0.0
    """Mean over the pairs of the loss to a teacher's scores, before its weight; 0 where there are none."""
    margin_share: float = 0.0
    """The part of `masked_share` whose similarity is above the model's margin."""
    guide_share: float = 0.0
    """The part of it that is above the guide's, and not above the model's."""


@dataclass(frozen=True)
class StepReport:
    """What rank 0 reports about one step."""

    step: int
    source: str
    seconds: float
    """Wall time since the previous step."""
    waited: float
    """The part of `seconds` spent waiting for data."""
    metrics: StepMetrics
    first: bool = False
    """Whether the workers have just started, so that `seconds` includes their warm-up."""
    system: Mapping[str, float] = field(default_factory=dict)
    """Readings of the workers' machines since the report before, by name."""

    def named(self) -> dict[str, float]:
        """Return the step's metrics by the names that MLflow shows, grouped by their beginning."""
        m = self.metrics
        seconds = max(self.seconds, 1e-9)
        return {
            "loss": m.loss,
            f"loss/{self.source}": m.loss,
            "accuracy": m.accuracy,
            "masked_share": m.masked_share,
            **({"masked_share/margin": m.margin_share} if m.margin_share else {}),
            **({"masked_share/guide": m.guide_share} if m.guide_share else {}),
            **({"distillation": m.distillation} if m.distillation else {}),
            "optimizer/learning_rate": m.learning_rate,
            "optimizer/gradient_norm": m.grad_norm,
            "optimizer/loss_scale": m.loss_scale,
            "optimizer/skipped": float(m.overflow),
            "speed/pairs_per_second": m.pairs / seconds,
            "speed/tokens_per_second": m.tokens / seconds,
            "speed/waiting_share": self.waited / seconds,
            "speed/padding_share": 1 - m.tokens / m.computed_tokens,
            **self.system,
        }


@dataclass(frozen=True)
class Outcome:
    """How a worker's loop ended."""

    last_step: int
    """Last completed step, counted from 0; -1 for none."""
    diverged: str = ""
    """Message of the TrainingDiverged that ended it; empty if there was none."""
