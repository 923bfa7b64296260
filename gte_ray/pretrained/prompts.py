"""Prompts: what a model's authors prepend to its texts."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gte_ray.config import ModelConfig

DOCUMENT_NAMES = ("document", "passage", "corpus")
"""Names of the prompt for documents; the first one present is used."""


FAMILIES = (
    (r"(^|[/_-])e5-(small|base|large)(?!.*instruct)", "query: ", "passage: "),
    (r"(^|[/_-])bge-(small|base|large)-en", "Represent this sentence for searching relevant passages: ", ""),
)
"""Names of models whose cards ask for prompts that their folders do not hold, with those of queries and documents
(2212.03533, 2309.07597)."""


@dataclass(frozen=True)
class GivenPrompts:
    """Prompts that a user gives in place of a model's own; None for those of the model."""

    query: str | None = None
    document: str | None = None
    pooled: bool | None = None
    """As in `Prompts`."""

    def __bool__(self) -> bool:
        return self != GivenPrompts()

    def in_words(self) -> str:
        sides = (("query", self.query), ("document", self.document))
        return ", ".join(f"{side} prompt {json.dumps(text)}" for side, text in sides if text is not None)


def given_to(model: ModelConfig) -> GivenPrompts:
    """What a run's config gives in place of its base model's."""
    return GivenPrompts(model.prompt_query, model.prompt_document, model.pool_prompts)


AS_THE_MODEL = GivenPrompts()
"""None in place of a model's own."""


@dataclass(frozen=True)
class Prompts:
    """The prompts of a model. A prompt and its text are tokenised together, as one text."""

    query: str = ""
    """Prepended to queries."""
    document: str = ""
    """Prepended to documents, hard negatives included."""
    default: str = ""
    """Prepended to texts that are neither, as in clustering, classification or similarity."""
    default_name: str | None = None
    """Name of `default`."""
    named: Mapping[str, str] = field(default_factory=dict)
    """All prompts of the folder, by name."""
    pooled: bool = True
    """Whether their tokens, and the special ones in front of them, are pooled with those of the text."""

    def __bool__(self) -> bool:
        return bool(self.query or self.document)

    @classmethod
    def of(cls, named: Mapping[str, Any], default_name: str | None = None) -> "Prompts":
        """Builds prompts from sentence-transformers' `prompts` and `default_prompt_name`, by its rules.

        As in its `encode_query` and `encode_document`, the default does not apply to queries and documents:
        without a prompt of their own they have none. Raises KeyError if no prompt has the default's name.
        """
        texts = {name: text or "" for name, text in named.items()}
        document_names = [name for name in DOCUMENT_NAMES if name in texts]
        return cls(
            query=texts.get("query", ""),
            document=texts[document_names[0]] if document_names else "",
            default="" if default_name is None else {"query": "", "document": "", **texts}[default_name],
            default_name=default_name,
            named=texts,
        )

    def given(self, given: GivenPrompts) -> "Prompts":
        """Returns these prompts with the given ones in their places."""
        if not given:
            return self
        query = self.query if given.query is None else given.query
        document = self.document if given.document is None else given.document
        named = {name: text for name, text in self.named.items() if name not in DOCUMENT_NAMES}
        if given.query is None and given.document is None:
            return replace(self, pooled=bool(given.pooled))
        return replace(
            self,
            query=query,
            document=document,
            named={**named, "query": query, "document": document},
            pooled=self.pooled if given.pooled is None else given.pooled,
        )

    def in_words(self) -> str:
        sides = (("queries", self.query), ("documents", self.document))
        words = " and ".join(
            f"{json.dumps(text) if text else 'nothing'} before {side}" for side, text in sides
        )
        return words if self.pooled or not self else f"{words}, which are not pooled"

    def to_folder(self) -> dict[str, Any]:
        """`prompts` and `default_prompt_name` with which sentence-transformers prepends the same prompts.

        The document prompt is saved as `document`: if a folder lacks that name, sentence-transformers uses an
        empty prompt instead of `passage` or `corpus`.
        """
        sides = {"query": self.query, "document": self.document} if self.named else {}
        return {"prompts": {**self.named, **sides}, "default_prompt_name": self.default_name}


def lacking(name: str, prompts: Prompts) -> tuple[str, ...]:
    """A note if the model called `name` has no prompts, and is of a family that is made for some."""
    if prompts:
        return ()
    for pattern, query, document in FAMILIES:
        if re.search(pattern, name.rstrip("/").lower()):
            flags = f"--prompt-query {shlex.quote(query)}" + (
                f" --prompt-document {shlex.quote(document)}" if document else ""
            )
            return (f"{name}: its family is made for prompts, which its folder does not hold: {flags}",)
    return ()
