"""Adapters from our models to mteb's protocols."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction

from gte_ray.model.load import TextModel
from gte_ray.retrieval.bm25 import BM25_QUERIES, Bm25

CHUNK_TEXTS = 65_536
"""Number of texts that are tokenised, sorted by length and encoded together."""


class MtebEncoder(AbsEncoder):
    """A `TextModel` behind mteb's encoder protocol; similarities are cosines."""

    def __init__(self, model: TextModel, budget_tokens: int):
        self.model, self.budget_tokens = model, budget_tokens
        self.model_prompts = dict(model.prompts.named)
        self.mteb_model_meta = _meta(ScoringFunction.COSINE)

    def encode(
        self,
        inputs: Iterable[dict[str, Any]],
        *,
        task_metadata: Any = None,
        prompt_type: Any = None,
        **named: Any,
    ) -> np.ndarray:
        """Return (n, D) float32, with the prompt that mteb chooses for the task from the model's own.

        If the model has none for the task or its type, queries and documents get their own prompt, and other
        texts the default.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        prompts, side = self.model.prompts, getattr(prompt_type, "value", prompt_type)
        prompt = {"query": prompts.query, "document": prompts.document}.get(side or "", prompts.default)
        if task_metadata is not None:
            name = self.get_prompt_name(task_metadata, prompt_type)
            if name not in (None, "query", "document"):
                prompt = prompts.named[name]
        chunks = [texts[start : start + CHUNK_TEXTS] for start in range(0, len(texts), CHUNK_TEXTS)]
        return np.concatenate([self.model.embed(chunk, self.budget_tokens, prompt) for chunk in chunks])


class MtebBm25:
    """BM25 behind mteb's search protocol, for retrieval and reranking only."""

    def __init__(self) -> None:
        self.mteb_model_meta = _meta(None)

    def index(self, corpus: Iterable[dict[str, Any]], **named: Any) -> None:
        self.ids = [row["id"] for row in corpus]
        texts = [f"{row.get('title') or ''} {row['text']}".strip() for row in corpus]
        self.bm25 = Bm25(texts)

    def search(
        self, queries: Any, *, top_k: int, top_ranked: dict[str, list[str]] | None = None, **named: Any
    ) -> dict[str, dict[str, float]]:
        """Return, for each query, the scores of the `top_k` documents that share a word with it.

        With `top_ranked`, return the scores of those documents instead.
        """
        index = {name: i for i, name in enumerate(self.ids)}
        results = {}
        for start in range(0, len(queries), BM25_QUERIES):
            rows = queries[start : start + BM25_QUERIES]
            for name, scores in zip(rows["id"], self.bm25.scores(list(rows["text"])), strict=True):
                if top_ranked is not None:
                    order = np.array([index[document] for document in top_ranked[name]], np.int64)
                else:
                    order = np.argsort(-scores, kind="stable")[:top_k]
                    order = order[scores[order] > 0]
                results[name] = {self.ids[i]: float(scores[i]) for i in order}
        return results


def _meta(similarity: ScoringFunction | None) -> ModelMeta:
    # mteb stores no results of its own here, so no name is needed.
    return ModelMeta.create_empty({"similarity_fn_name": similarity})
