"""A stream over the tiny store."""

from gte_ray.data.mixture import PlanSource
from gte_ray.data.read import StreamConfig
from gte_ray.data.store import open_store

STEPS = 23


def make_stream(tiny_store: str, stored_ids: bool) -> StreamConfig:
    """A global batch of 13 divides by none of the numbers of workers but 1."""
    store = open_store(tiny_store)
    return StreamConfig(
        store=tiny_store,
        sources=tuple(PlanSource(source.name, source.rows) for source in store.manifest.sources),
        alpha=0.5,
        global_batch=13,
        seed=5,
        steps=STEPS,
        max_length=16,
        tokenizer=store.load_tokenizer(),
        stored_ids=stored_ids,
    )
