"""Recipes of the models after GTE, and of its neighbours, with what is published of their training.

A number that no source gives is the paper's for a model of that size, or is said to be ours. Models whose first training was
of another kind, or whose weights serve already, start from these weights. Prompts and pooling are those of their folders
unless they are given here.
"""

from dataclasses import replace
from typing import Any

from gte_ray.config import Config, ModelConfig
from gte_ray.recipes.paper import paper


def gte_modernbert(store: str) -> Config:
    """gte-modernbert-base, whose card cites the paper: its recipe for BERT-base on ModernBERT-base, pooled by cls.

    What was changed beside the backbone is not published, so all else is that of gte-base.
    """
    model = ModelConfig(base="answerdotai/ModernBERT-base", layers=22, intermediate_size=1_152, pooling="cls")
    return paper("gte-modernbert", store, model, learning_rate=2e-4, workers=4)


def gte_multilingual(store: str) -> Config:
    """gte-multilingual-base (2407.19669): its encoder of 8,192 positions with XLM-R's vocabulary, cls, Matryoshka.

    From its published weights, as its encoder before them has no native format; without its sparse head. What else there is
    is ours: languages sampled within a source (`split_by`) by 0.5, dimensions, a tenth of gte-base's rate, batch, steps.
    """
    model = ModelConfig(base="alibaba-nlp-community/gte-multilingual-base", vocab_size=250_048, pooling="cls")
    config = paper("gte-multilingual", store, model, learning_rate=2e-5, workers=4)
    return replace(
        config,
        data=replace(config.data, split_alpha=0.5),
        objective=replace(config.objective, dimensions=(768, 512, 256, 128)),
        training=replace(config.training, steps=10_000),
    )


def gte_qwen2(store: str) -> Config:
    """gte-Qwen2-1.5B-instruct: a decoder that looks both ways, last token, an instruction before queries (its card).

    From its published weights. Its training is not published: a tenth of gte-large's rate, batch and steps are ours.
    """
    model = ModelConfig(
        base="Alibaba-NLP/gte-Qwen2-1.5B-instruct",
        vocab_size=151_646,
        hidden_size=1_536,
        layers=28,
        heads=12,
        intermediate_size=8_960,
        prompt_query="Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: ",
    )
    return _continued(paper("gte-qwen2-1.5b", store, model, 5e-6, workers=8, gradient_checkpointing=True))


def qwen3_06b(store: str) -> Config:
    """Qwen3-Embedding-0.6B (2506.05176): its loss, from its weights, with the pooling and prompts of its folder.

    Of the loss, the paper gives the sums and the margin; its authors' training guide gives the temperature. Batch,
    steps and learning rate are not published: those here are ours, a tenth of gte-large's rate for a model that is
    trained already.
    """
    return _qwen3("0.6b", store, ModelConfig("Qwen/Qwen3-Embedding-0.6B", **_sizes(1_024, 28, 16, 3_072)))


def qwen3_4b(store: str) -> Config:
    """Qwen3-Embedding-4B: as that of 0.6B, with adapters of rank 16 (LoRA) in place of all weights; both are ours."""
    sizes = _sizes(2_560, 36, 32, 9_728)
    return _qwen3("4b", store, ModelConfig("Qwen/Qwen3-Embedding-4B", lora_rank=16, **sizes))


def qwen3_8b(store: str) -> Config:
    """Qwen3-Embedding-8B: as that of 4B."""
    sizes = _sizes(4_096, 36, 32, 12_288)
    return _qwen3("8b", store, ModelConfig("Qwen/Qwen3-Embedding-8B", lora_rank=16, **sizes))


def nomic_embed(store: str) -> Config:
    """nomic-embed-text (contrastors): queries to documents alone, temperature 0.02, batch 16,384, rate 2e-4, prompts.

    700 steps of warm-up, as published, of 50,000, which are ours; its rate falls by an inverse root, here linearly. Its
    prompts are by task; those here are for search.
    """
    model = ModelConfig(
        base="nomic-ai/nomic-bert-2048",
        vocab_size=30_528,
        pooling="mean",
        prompt_query="search_query: ",
        prompt_document="search_document: ",
    )
    config = paper("nomic-embed", store, model, learning_rate=2e-4, workers=8)
    return replace(
        config,
        objective=replace(config.objective, directions=("q2d",), temperature=0.02),
        training=replace(config.training, warmup=0.014),
    )


def arctic_embed(store: str) -> Config:
    """arctic-embed (the pre-training scripts of ArcticTraining) on BERT-base: queries to documents, temperature 0.02, cls, first
    256 dimensions by half, warm-up and decay of 2,000 steps each, clipping at 10; steps, batch and rate are gte-base's.
    """
    model = ModelConfig(
        base="google-bert/bert-base-uncased",
        pooling="cls",
        prompt_query="Represent this sentence for searching relevant passages: ",
    )
    config = paper("arctic-embed-m", store, model, learning_rate=2e-4, workers=4)
    return replace(
        config,
        objective=replace(
            config.objective,
            directions=("q2d",),
            temperature=0.02,
            dimensions=(768, 256),
            dimension_weights=(0.5, 0.5),
        ),
        training=replace(config.training, schedule="wsd", warmup=0.04, cooldown=0.04, max_grad_norm=10.0),
    )


def embeddinggemma(store: str) -> Config:
    """EmbeddingGemma-300M (2509.20354): from its weights, its layers after pooling, prompts and dimensions.

    Its regulariser, hardness weights and teacher's vectors are not here, so that the loss is the paper's; rate, batch
    and steps are ours.
    """
    sizes = _sizes(768, 24, 3, 1_152) | {"vocab_size": 262_144}
    model = ModelConfig(base="google/embeddinggemma-300m", **sizes)
    config = _continued(paper("embeddinggemma-300m", store, model, 1e-5, workers=4))
    return replace(config, objective=replace(config.objective, dimensions=(768, 512, 256, 128)))


def _sizes(hidden_size: int, layers: int, heads: int, intermediate_size: int) -> dict[str, Any]:
    """Of a model with the vocabulary of Qwen3."""
    return {
        "vocab_size": 151_669,
        "hidden_size": hidden_size,
        "layers": layers,
        "heads": heads,
        "intermediate_size": intermediate_size,
    }


def _qwen3(size: str, store: str, model: ModelConfig) -> Config:
    name = f"qwen3-embedding-{size}"
    config = _continued(paper(name, store, model, 5e-6, workers=8, gradient_checkpointing=True))
    objective = replace(config.objective, directions=("q2d", "q2q", "d2d"), false_negative_margin=0.1)
    return replace(config, objective=objective)


def _continued(config: Config) -> Config:
    """A model that serves already goes on for a while: batch and steps are ours, and its weights need bf16's range."""
    training = replace(config.training, global_batch=1_024, steps=10_000, precision="bf16")
    return replace(config, training=training)
