"""Which pairs are set aside for evaluation, and in which order the others are."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from gte_ray.data.hashing import seeded
from gte_ray.errors import UsageError

HELD_OUT_SHARE = 0.02
"""Default share of the queries that a new store holds out."""
HELD_OUT_ROWS = 10_000
"""Default for the most pairs of a source that a new store holds out, so that a large one loses few."""


@dataclass(frozen=True)
class Split:
    """Settings that shape a store besides its pairs. Raises UsageError if one is out of range."""

    seed: int = 0
    held_out_share: float = HELD_OUT_SHARE
    held_out_rows: int = HELD_OUT_ROWS
    """Most pairs of a source that are held out, about; 0 for any number."""
    held_out_documents: bool = False
    """Whether pairs to train on may not have a document that a held-out pair has; they are dropped."""
    benchmarks: str = ""
    """Identifies the texts of benchmarks whose pairs are left out; empty for none."""

    def __post_init__(self) -> None:
        if not 0 <= self.held_out_share < 1:
            raise UsageError(
                f"--held-out is {self.held_out_share}; allowed is a share from 0 up to, not including, 1"
            )
        if self.held_out_rows < 0:
            raise UsageError(
                f"--held-out-rows is {self.held_out_rows}; allowed is a number of pairs, or 0 for any"
            )
        if not 0 <= self.seed < 2**64:
            raise UsageError(f"--seed is {self.seed}; allowed is a whole number from 0 to 2^64 - 1")

    def threshold(self, rows: int) -> int:
        """The least seeded hash of a query that is not held out, in a source of `rows` pairs."""
        share = self.held_out_share
        if self.held_out_rows:
            share = min(share, self.held_out_rows / max(rows, 1))
        return int(share * 2**64)

    def is_held_out(self, query_hashes: np.ndarray, rows: int) -> np.ndarray:
        """(n,) bool. By the query, so that a query is never on both sides, and by hash, so that it stays there."""
        return seeded(query_hashes, self.seed) < np.uint64(self.threshold(rows))

    @property
    def identity(self) -> dict[str, Any]:
        """All that shapes the pairs of a source."""
        return {name: value for name, value in asdict(self).items() if name != "benchmarks" or value}

    def flags(self) -> str:
        """The settings as they are given to prepare."""
        documents = " --held-out-documents" if self.held_out_documents else ""
        benchmarks = f" --decontaminate (texts {self.benchmarks})" if self.benchmarks else ""
        return (
            f"--seed {self.seed} --held-out {self.held_out_share:g} --held-out-rows {self.held_out_rows}{documents}"
            f"{benchmarks}"
        )

    def sides(self, table: pa.Table, rows: int) -> tuple[pa.Table, pa.Table]:
        """The pairs of `table` to train on and those held out."""
        aside = self.is_held_out(table.column("query_hash").to_numpy(), rows)
        return table.filter(pa.array(~aside)), table.filter(pa.array(aside))
