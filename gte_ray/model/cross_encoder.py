"""Score pairs of texts: by a cross-encoder, which reads both at once, or by the vectors of an embedding model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from transformers import AutoTokenizer

from gte_ray.data.batch import TokenLists
from gte_ray.data.tokenize import MOST_CHARACTERS
from gte_ray.errors import RunError
from gte_ray.model.backbone import load_classifier, positions
from gte_ray.model.load import NO_LENGTH, UNNAMED_LENGTH, TextModel, load_model
from gte_ray.model.microbatch import micro_batches
from gte_ray.pretrained.files import model_folder
from gte_ray.pretrained.prompts import AS_THE_MODEL, GivenPrompts
from gte_ray.runtime import storage

CLASSIFIER = "ForSequenceClassification"
"""What the class of a cross-encoder's model ends with."""


class PairScorer(Protocol):
    def scores(self, queries: Sequence[str], documents: Sequence[str], budget_tokens: int) -> np.ndarray:
        """Return (n,) float32, higher where a document suits its query better; micro-batches have the budget's tokens."""
        ...


@dataclass(frozen=True)
class CrossEncoder:
    """A sequence classifier with one output, in evaluation mode. Its scores are raw logits, as its training had them."""

    model: Any
    tokenizer: Any
    max_length: int
    """Most tokens of a query and a document together; of the longer of the two the rest is cut off."""

    @torch.no_grad()
    def scores(self, queries: Sequence[str], documents: Sequence[str], budget_tokens: int) -> np.ndarray:
        encoded = self.tokenizer(
            [text[:MOST_CHARACTERS] for text in queries],
            [text[:MOST_CHARACTERS] for text in documents],
            truncation="longest_first",
            max_length=self.max_length,
        )
        lengths = np.array([len(ids) for ids in encoded["input_ids"]])
        tokens = TokenLists(np.zeros(lengths.sum(), np.int32), np.concatenate([[0], np.cumsum(lengths)]))
        scores = np.empty(len(lengths), np.float32)
        for batch in micro_batches(tokens, budget_tokens, packed=False):
            rows = {name: [values[row] for row in batch.rows] for name, values in encoded.items()}
            padded = self.tokenizer.pad(rows, return_tensors="pt").to(self.model.device)
            scores[batch.rows] = self.model(**padded).logits[:, 0].float().cpu().numpy()
        return scores


@dataclass(frozen=True)
class VectorScorer:
    """The cosine similarity of two texts' embeddings."""

    model: TextModel

    def scores(self, queries: Sequence[str], documents: Sequence[str], budget_tokens: int) -> np.ndarray:
        q, d = (
            _each(embed, texts, budget_tokens)
            for embed, texts in ((self.model.queries, queries), (self.model.documents, documents))
        )
        return np.einsum("nd,nd->n", q, d).astype(np.float32)


def _each(embed: Any, texts: Sequence[str], budget_tokens: int) -> np.ndarray:
    """Embed texts, each different one once."""
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    return embed(list(numbers), budget_tokens)[[numbers[text] for text in texts]]


def load_scorer(
    name: str, device: str = "cpu", half: bool = False, prompts: GivenPrompts = AS_THE_MODEL
) -> tuple[PairScorer, tuple[str, ...]]:
    """Load a cross-encoder or an embedding model by its folder, URI or Hugging Face id; with notes on it.

    Raises RunError with a one-sentence message.
    """
    with model_folder(name, weights=False) as folder:
        path = folder / "config.json"
        config = storage.read_json(str(path)) if path.is_file() else {}
    kinds = config.get("architectures") or [""]
    if not str(kinds[0]).endswith(CLASSIFIER):
        model = load_model(name, device, half, prompts=prompts)
        return VectorScorer(model), model.notes
    if prompts:
        raise RunError(f"{name}: is a cross-encoder, which reads a query and a document without prompts")
    return _load_cross_encoder(name, device, half), ()


def _load_cross_encoder(name: str, device: str, half: bool) -> CrossEncoder:
    with model_folder(name) as folder:
        model = load_classifier(folder, name)
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        except Exception as error:  # any error of tokenizers on a broken file
            raise RunError(
                f"{name}: the tokenizer cannot be loaded ({' '.join(str(error).split())[:300]})"
            ) from error
    if model.config.num_labels != 1:
        raise RunError(
            f"{name}: gives {model.config.num_labels} numbers for a pair of texts; allowed are cross-encoders that give one"
        )
    if tokenizer.pad_token is None:
        raise RunError(f"{name}: its tokenizer has no padding token")
    longest = min(positions(model.base_model) or tokenizer.model_max_length, tokenizer.model_max_length)
    return CrossEncoder(
        model.to(device, torch.float16 if half else None).eval(),
        tokenizer,
        int(longest) if longest < NO_LENGTH else UNNAMED_LENGTH,
    )
