"""The model card of a run."""

from gte_ray.exporting.card import CardSource, ModelCard
from gte_ray.runs.plan import Run
from gte_ray.runtime.cluster import command_line


def card_of(run: Run, command: str | None = None) -> ModelCard:
    """The model card of the run, without scores. Its command is the one that runs now if none is given."""
    shares = run.plan.source_steps() / run.plan.steps
    return ModelCard(
        name=run.name,
        config=run.config,
        fingerprint=run.fingerprint,
        command=command_line() if command is None else command,
        sources=tuple(
            CardSource(source.name, run.store.source(source.name).task, source.rows, float(share))
            for source, share in zip(run.plan.sources, shares, strict=True)
        ),
    )
