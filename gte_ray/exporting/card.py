"""The model card: what a trained model is, how to use it, what it scored, and how to make it again.

Its header is huggingface_hub's, so that any name is YAML and the scores are where the hub looks for them. The text is
ours: the library's template knows neither the folder's pooling nor its prompts, and its `save` writes to no bucket.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from huggingface_hub import ModelCardData

from gte_ray.config import Config, Pooling
from gte_ray.evaluation.heldout import SourceScores
from gte_ray.evaluation.scores import Scores
from gte_ray.exporting.card_scores import dimensions_section, eval_results, scores_section
from gte_ray.pretrained.modules import IDENTITY
from gte_ray.pretrained.prompts import Prompts
from gte_ray.report.markdown import code, code_block, escaped, markdown_table
from gte_ray.runtime.uri import without_password

QUERY, DOCUMENT = "how to sort a list", "sorted(x) gives a new list, in order"
"""Texts of the examples."""


@dataclass(frozen=True)
class CardSource:
    """A source that the model was trained on."""

    name: str
    task: str
    """One of the task types of Table 1."""
    pairs: int
    """Pairs for training in the store."""
    share: float
    """Share of the training steps, from 0 to 1."""


@dataclass(frozen=True)
class ModelCard:
    """All that the card says."""

    name: str
    config: Config
    fingerprint: str
    """Of the run: equal when the same thing is computed."""
    command: str
    """The command that made the model; empty if it is not known."""
    sources: tuple[CardSource, ...]
    scores: Scores | None = None
    """None while the model is not scored yet."""
    steps: int = 0
    """Steps after which the model was exported, if they were not all; otherwise 0."""
    dimensions: int = 0
    """First dimensions that the model's vectors have, if they were not all; otherwise 0."""
    averaged: tuple[int, ...] = ()
    """Numbers of steps after which the weights were taken that the model's are the mean of; empty for one."""


@dataclass(frozen=True)
class Exported:
    """What the card says of the folder that it is in."""

    dimensions: int
    """D."""
    loader: str
    """The class of transformers that loads the backbone."""
    pooler: bool
    """Whether that class makes a pooler unless it is told not to: the folder has none."""
    pooling: Pooling
    prompts: Prompts
    dense: tuple[tuple[str, str], ...] = ()
    """Subfolders of linear layers after pooling, and their activations' classes."""
    normalized: bool = True
    """Whether vectors have length 1."""


POOLING = {
    "mean": ("Mean pooling over the tokens", "(hidden * mask).sum(1) / mask.sum(1)"),
    "cls": ("Pooling by the first token", "hidden[:, 0]"),
    "last": ("Pooling by the last token", "hidden[torch.arange(len(texts)), mask.sum(1).squeeze() - 1]"),
}
"""In words, and in code over `hidden` of right-padded texts and their `mask`."""


def render(card: ModelCard, exported: Exported) -> str:
    """The card as the README.md of a model folder."""
    base, rows = card.config.model.base, card.scores.after if card.scores is not None else ()
    parts = [header([base], card.name, rows), _introduction(card, exported), usage(exported)]
    if card.scores is not None and card.scores.after:
        parts.append(scores_section(card.scores))
        if card.scores.dimensions:
            parts.append(dimensions_section(card.scores, max(card.config.objective.dimensions)))
    return "\n\n".join([*parts, _data(card), _training(card)]) + "\n"


def header(bases: Sequence[str], name: str, rows: Sequence[SourceScores] = ()) -> str:
    """What the Hugging Face hub reads. No licence: that is for those to say who know the texts and the base."""
    on_hub = [base for base in bases if base != "scratch" and base.count("/") == 1 and base[0] not in "./~"]
    values = ModelCardData(
        base_model=(on_hub[0] if len(on_hub) == 1 else on_hub) or None,
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=["sentence-transformers", "feature-extraction", "sentence-similarity", "gte_ray"],
        model_name=name if rows else None,
        eval_results=[result for row in rows for result in eval_results(row)] or None,
    )
    return f"---\n{values.to_yaml()}\n---"


def _introduction(card: ModelCard, exported: Exported) -> str:
    base = "random weights" if card.config.model.base == "scratch" else code(card.config.model.base)
    return (
        f"# {escaped(card.name)}\n\n{description(card.config.data.max_length, exported)} Trained with gte_ray by the recipe `{card.config.recipe}` from {base}, after "
        "[Towards General Text Embeddings with Multi-stage Contrastive Learning]"
        "(https://arxiv.org/abs/2308.03281)."
    )


def description(max_length: int, exported: Exported) -> str:
    """What goes into the model and what comes out of it."""
    length = " and length 1" if exported.normalized else ""
    return (
        f"A text embedding model: up to {max_length} tokens in, a vector of {exported.dimensions} dimensions{length} "
        f"out, compared by cosine similarity. {POOLING[exported.pooling][0]}; {_prompts(exported.prompts)}."
    )


def _prompts(prompts: Prompts) -> str:
    return f"it needs {prompts.in_words()}" if prompts else "no prompt or prefix is needed"


def usage(exported: Exported) -> str:
    """How the model is used, as code."""
    without = ", add_pooling_layer=False" if exported.pooler else ""
    sides = ("_query", "_document") if exported.prompts else ("", "")
    texts = [exported.prompts.query + QUERY, exported.prompts.document + DOCUMENT]
    pooled = POOLING[exported.pooling][1]
    dense, loading = "", ""
    if exported.dense:
        dense, pooled, loading = (
            _dense(exported, pooled),
            "vectors",
            "from safetensors.torch import load_file\n",
        )
    return f"""## Use

With sentence-transformers, where `folder` is the folder of this file:

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer(folder)
queries = model.encode{sides[0]}(["{QUERY}"])
documents = model.encode{sides[1]}(["{DOCUMENT}", "the sea is blue"])
print(model.similarity(queries, documents))
```

With transformers alone:

```python
import torch
{loading}from transformers import {", ".join(sorted((exported.loader, "AutoTokenizer")))}

tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right")
model = {exported.loader}.from_pretrained(folder{without}).eval()
texts = {json.dumps(texts, ensure_ascii=False)}
inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
with torch.no_grad():
    hidden = model(**inputs).last_hidden_state
mask = inputs["attention_mask"].unsqueeze(-1)
{dense}embeddings = torch.nn.functional.normalize({pooled}, dim=-1)
print(embeddings[0] @ embeddings[1])
```"""


def _dense(exported: Exported, pooled: str) -> str:
    """Code that takes `pooled` through the linear layers, to `vectors`."""
    lines = [f"vectors = {pooled}\n"]
    for path, activation in exported.dense:
        linear = 'torch.nn.functional.linear(vectors, layer["linear.weight"], layer.get("linear.bias"))'
        called = linear if activation == IDENTITY else f"torch.nn.{activation.rsplit('.', 1)[-1]}()({linear})"
        lines += [
            f'layer = load_file(f"{{folder}}/{path}/model.safetensors")\n',
            f"vectors = {called}\n",
        ]
    return "".join(lines)


def _data(card: ModelCard) -> str:
    cells = [[s.name, s.task, f"{s.pairs:,}", f"{100 * s.share:.1f} %"] for s in card.sources]
    total = sum(source.pairs for source in card.sources)
    return (
        f"## Data\n\nPairs of text: {total:,}. Sources: {len(card.sources)}; each batch is of one source.\n\n"
        + markdown_table(["source", "task", "pairs", "share of the steps"], cells, numbers=True)
    )


def _training(card: ModelCard) -> str:
    t, o = card.config.training, card.config.objective
    settings = {k: v for k, v in card.config.to_dict().items() if k != "run"}
    done = f"{card.steps:,} of " if card.steps else ""
    command = f"The command:\n\n{code_block(card.command)}\n\n" if card.command else ""
    mean = f"The weights are the mean of those after {_steps(card)}. " if card.averaged else ""
    return without_password(
        f"## Training\n\n{done}{t.steps:,} steps of {t.global_batch:,} pairs, AdamW with a highest learning rate "
        f"of {t.learning_rate:g}, temperature {o.temperature:g}, mixing exponent {card.config.data.alpha:g}, "
        f"seed {card.config.seed}. {mean}Fingerprint `{card.fingerprint}`. "
        f"{command}"
        f"All settings:\n\n{code_block(json.dumps(settings, indent=2), 'json')}"
    )


def _steps(card: ModelCard) -> str:
    *first, last = (f"{steps:,}" for steps in card.averaged)
    return f"{', '.join(first)} and {last} steps"
