"""What a model's authors put in front of its texts."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DOCUMENT_NAMES = ("document", "passage", "corpus")
"""Names of a prompt for documents, the first that is there counts."""


@dataclass(frozen=True)
class Prompts:
    """The prompts of a model; a prompt and its text are tokenised together, as one text."""

    query: str = ""
    """In front of queries."""
    document: str = ""
    """In front of documents, hard negatives among them."""
    default: str = ""
    """In front of texts that are neither: those of clustering, classification or similarity."""
    default_name: str | None = None
    """Name of `default`."""
    named: Mapping[str, str] = field(default_factory=dict)
    """All prompts by their names, as the folder has them."""

    def __bool__(self) -> bool:
        return bool(self.query or self.document)

    @classmethod
    def of(cls, named: Mapping[str, Any], default_name: str | None = None) -> "Prompts":
        """The prompts of sentence-transformers' `prompts` and `default_prompt_name`, by its rules.

        As in its `encode_query` and `encode_document`, the default is not for queries and documents: without a
        prompt of their own they have none. Raises KeyError where there is no prompt of the default's name.
        """
        texts = {name: text or "" for name, text in named.items()}
        sides = [name for name in DOCUMENT_NAMES if name in texts]
        return cls(
            query=texts.get("query", ""),
            document=texts[sides[0]] if sides else "",
            default="" if default_name is None else {"query": "", "document": "", **texts}[default_name],
            default_name=default_name,
            named=texts,
        )

    def in_words(self) -> str:
        sides = (("queries", self.query), ("documents", self.document))
        return " and ".join(
            f"{json.dumps(text) if text else 'nothing'} before {side}" for side, text in sides
        )

    def to_folder(self) -> dict[str, Any]:
        """`prompts` and `default_prompt_name` with which sentence-transformers puts the same before texts.

        Its releases know documents by the name `document` alone where a folder lacks that one.
        """
        sides = {"query": self.query, "document": self.document} if self.named else {}
        return {"prompts": {**self.named, **sides}, "default_prompt_name": self.default_name}
