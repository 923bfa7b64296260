"""The guide of a run (GISTEmbed) before its first step: which tokens it reads, and what a user should know of it."""

from gte_ray.config import Config
from gte_ray.data.token_reader import TokenReader
from gte_ray.data.tokenize import TextTokenizer, load_tokenizer
from gte_ray.pretrained.prompts import lacking
from gte_ray.runs.base import base_settings


def guide_reader(config: Config, tokenizer: TextTokenizer) -> TokenReader | None:
    """What the guide reads; None for a run without one, or if it reads what the model with `tokenizer` does.

    Texts are cut at the run's length, or at the guide's if that is lower. Raises RunError if it cannot be loaded.
    """
    name, longest = config.objective.guide, config.data.max_length
    if not name:
        return None
    from gte_ray.model.load import longest_text  # the import takes seconds

    reader = TokenReader(load_tokenizer(name), min(longest_text(name), longest))
    same = reader.max_length == longest and reader.tokenizer.fingerprint == tokenizer.fingerprint
    prompts = [
        (of.prompts.query, of.prompts.document, of.prompts.pooled) for of in (reader.tokenizer, tokenizer)
    ]
    return None if same and prompts[0] == prompts[1] else reader


def guide_warnings(config: Config) -> list[str]:
    """Warnings about the guide: of its folder's settings, and of prompts that its card asks for."""
    settings = base_settings(config.objective.guide) if config.objective.guide else None
    return [] if settings is None else [*settings.notes, *lacking(config.objective.guide, settings.prompts)]
