"""What scoring is told, and what it tells."""

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Scoring:
    """Where and how models are scored."""

    benchmark: str
    output: str
    """Where results are kept: a folder or URI."""
    workers: int
    """Processes that each hold a model, one for each GPU."""
    gpu: bool
    """Whether each has a GPU; models then compute in fp16, as the paper evaluates (section 3.4)."""
    threads: int
    """CPU threads of each."""
    micro_batch_tokens: int
    """Tokens of a forward pass."""

    @property
    def device(self) -> torch.device:
        return torch.device("cuda" if self.gpu else "cpu")

    @property
    def pool(self) -> dict[str, Any]:
        """What the pool of actors reserves."""
        return {"size": self.workers, "num_cpus": self.threads, "num_gpus": 1 if self.gpu else 0}


@dataclass(frozen=True)
class Result:
    """One model on one task."""

    model: str
    task: str
    category: str
    """mteb's type of the task."""
    scores: dict[str, float]
    """`main` and further metrics, from 0 to 1 (correlations from -1); empty after an error."""
    error: str = ""
