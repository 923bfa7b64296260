"""Flags of the commands that compute with embedding models: their prompts, and the processes that they compute in."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from gte_ray.errors import UsageError
from gte_ray.pretrained.prompts import GivenPrompts

if TYPE_CHECKING:
    from gte_ray.runtime.pool import Pool


@dataclass(frozen=True)
class ModelFlags:
    prompt_query: str | None = None
    """Text in front of queries; if not given, what the model's folder says."""
    prompt_document: str | None = None
    """Text in front of documents; if not given, what the model's folder says."""
    workers: int = 1
    """Processes that compute in parallel, one for each GPU."""
    gpu: bool = False
    """Whether each has a GPU; models then compute in fp16."""
    threads: int = 2
    """CPU threads of each."""

    def check(self) -> None:
        """Raises UsageError for a number that is out of range."""
        for name in ("workers", "threads"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} is {getattr(self, name)}; allowed is at least 1")

    @property
    def prompts(self) -> GivenPrompts:
        return GivenPrompts(self.prompt_query, self.prompt_document)

    @property
    def cpus(self) -> int:
        return self.workers * self.threads

    def pool(self) -> "Pool":
        from gte_ray.runtime.pool import Pool  # and Ray Data with it

        return Pool(self.workers, self.gpu, self.threads)


FlatModelFlags = Annotated[ModelFlags, tyro.conf.OmitArgPrefixes]
