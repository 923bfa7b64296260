"""What training tells of its steps. Free of torch, so that processes that only pass it on start fast."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StepMetrics:
    """Figures of one step over all ranks."""

    loss: float
    """Mean over the pairs (eq. 5)."""
    accuracy: float
    """Share of the queries that no document of the batch is closer to than their own."""
    masked_share: float
    """Share of the in-batch negatives that were masked as duplicates."""
    grad_norm: float
    """Before clipping; not finite where the step was skipped."""
    learning_rate: float
    overflow: bool
    """Whether fp16 gradients overflowed, so that the step was skipped."""
    loss_scale: float
    """Scale of the loss under fp16, else 1."""
    tokens: int
    """Real tokens of all texts."""
    computed_tokens: int
    """The same with padding."""
    pairs: int
    digest: int
    """Of all texts of the batch, whatever the number of ranks: equal for equal batches."""


@dataclass(frozen=True)
class StepReport:
    """What rank 0 tells of one step."""

    step: int
    source: str
    seconds: float
    """Wall time since the step before."""
    waited: float
    """Seconds of it that went into waiting for data."""
    metrics: StepMetrics
    first: bool = False
    """Whether the workers have just been started, so that `seconds` has their warm-up in it."""

    def named(self) -> dict[str, float]:
        """What MLflow keeps of the step, by the names that it shows."""
        m = self.metrics
        seconds = max(self.seconds, 1e-9)
        return {
            "loss": m.loss,
            f"loss/{self.source}": m.loss,
            "accuracy": m.accuracy,
            "learning_rate": m.learning_rate,
            "gradient_norm": m.grad_norm,
            "loss_scale": m.loss_scale,
            "skipped": float(m.overflow),
            "pairs_per_second": m.pairs / seconds,
            "tokens_per_second": m.tokens / seconds,
            "waiting_share": self.waited / seconds,
            "padding_share": 1 - m.tokens / m.computed_tokens,
            "masked_share": m.masked_share,
        }


@dataclass(frozen=True)
class Outcome:
    """How a worker's loop ended."""

    last_step: int
    """Last step that was done, counted from 0; -1 for none."""
    diverged: str = ""
    """The sentence that says where the loss turned NaN, empty when it did not."""
