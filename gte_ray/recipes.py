"""Recipes: functions that return a complete config. The paper's follow Table 3 and section 3.4.

The models after it have those of its numbers that theirs are not known to differ from.
"""

from collections.abc import Callable
from dataclasses import replace

from gte_ray.config import (
    Config,
    HardwareConfig,
    ModelConfig,
    ObjectiveConfig,
    OutputConfig,
    PairsConfig,
    TrainingConfig,
)
from gte_ray.config.fields import Workers
from gte_ray.errors import UsageError


def tiny(store: str) -> Config:
    """Trains from random weights in a few minutes on two CPU cores: small enough to see everything work."""
    return Config(
        recipe="tiny",
        data=PairsConfig(store=store, alpha=0.5, max_length=64),
        model=ModelConfig(
            base="scratch",
            vocab_size=16_384,
            hidden_size=128,
            layers=2,
            heads=2,
            intermediate_size=512,
        ),
        objective=ObjectiveConfig(),
        # Random weights give nearly equal embeddings, and a fast start makes them collapse for a long time:
        # with a warm-up of 20 steps, some seeds stayed at a loss of log(4 x 512).
        training=TrainingConfig(
            steps=200, global_batch=512, learning_rate=2e-3, warmup=0.2, precision="fp32"
        ),
        hardware=HardwareConfig(
            workers=Workers.exactly(1),
            gpu=False,
            threads=2,
            micro_batch_tokens=8_192,
            graph_tokens=65_536,
            loss_tile=512,
        ),
        run=OutputConfig(checkpoint_every=50, eval_limit=500),
    )


def gte_small(store: str) -> Config:
    """Table 3: 30M parameters, learning rate 3e-4, 2 GPUs."""
    return _paper(
        "gte-small",
        store,
        ModelConfig(
            base="microsoft/MiniLM-L12-H384-uncased", hidden_size=384, heads=12, intermediate_size=1_536
        ),
        learning_rate=3e-4,
        workers=2,
    )


def gte_base(store: str) -> Config:
    """Table 3: 110M parameters, learning rate 2e-4, 4 GPUs."""
    return _paper(
        "gte-base",
        store,
        ModelConfig(base="google-bert/bert-base-uncased"),
        learning_rate=2e-4,
        workers=4,
    )


def gte_large(store: str) -> Config:
    """Table 3: 330M parameters, learning rate 5e-5, 8 GPUs."""
    return _paper(
        "gte-large",
        store,
        ModelConfig(
            base="google-bert/bert-large-uncased",
            hidden_size=1_024,
            layers=24,
            heads=16,
            intermediate_size=4_096,
        ),
        learning_rate=5e-5,
        workers=8,
        gradient_checkpointing=True,
    )


def gte_modernbert(store: str) -> Config:
    """gte-modernbert-base, whose card cites the paper: its recipe for BERT-base on ModernBERT-base, pooled by cls.

    What was changed beside the backbone is not published, so all else is that of gte-base.
    """
    model = ModelConfig(base="answerdotai/ModernBERT-base", layers=22, intermediate_size=1_152, pooling="cls")
    return _paper("gte-modernbert", store, model, learning_rate=2e-4, workers=4)


def qwen3_embedding(store: str) -> Config:
    """Qwen3-Embedding-0.6B (2506.05176): its loss, from its weights, with the pooling and prompts of its folder.

    Of the loss, the paper gives the sums and the margin; its authors' training guide gives the temperature. Batch,
    steps and learning rate are not published: those here are ours, a tenth of gte-large's rate for a model that is
    trained already.
    """
    model = ModelConfig(
        base="Qwen/Qwen3-Embedding-0.6B",
        vocab_size=151_669,
        hidden_size=1_024,
        layers=28,
        heads=16,
        intermediate_size=3_072,
    )
    config = _paper(
        "qwen3-embedding-0.6b", store, model, learning_rate=5e-6, workers=8, gradient_checkpointing=True
    )
    return replace(
        config,
        objective=replace(config.objective, directions=("q2d", "q2q", "d2d"), false_negative_margin=0.1),
        training=replace(config.training, global_batch=1_024, steps=10_000, precision="bf16"),
    )


def _paper(
    name: str,
    store: str,
    model: ModelConfig,
    learning_rate: float,
    workers: int,
    gradient_checkpointing: bool = False,
) -> Config:
    # The paper gives neither AdamW's betas nor its weight decay, so torch's and DeepSpeed's defaults apply.
    return Config(
        recipe=name,
        data=PairsConfig(store=store, alpha=0.5, max_length=128),  # eq. 4; section 3.4
        model=model,
        objective=ObjectiveConfig(temperature=0.01),  # section 3.4
        training=TrainingConfig(
            steps=50_000,  # section 3.4
            global_batch=16_384,  # Table 3
            learning_rate=learning_rate,  # Table 3
            warmup=0.05,  # section 3.4
            precision="fp16",  # section 3.4
        ),
        hardware=HardwareConfig(
            workers=Workers.exactly(workers),  # Table 3
            gpu=True,
            gradient_checkpointing=gradient_checkpointing,
        ),
        run=OutputConfig(checkpoint_every=1_000),
    )


FINETUNING_BATCH = 128
"""Global batch of fine-tuning, in pairs (section 3.4)."""


def finetuning(name: str, store: str, model: str, pairs: int, global_batch: int = FINETUNING_BATCH) -> Config:
    """The config that fine-tunes `model`, pre-trained by recipe `name`, for one epoch of `pairs` pairs.

    Fine-tuning is the second stage (section 3.4). Raises UsageError if there is no recipe of that name.
    """
    pretraining = recipe(name, store)
    if name == "tiny":
        group_size, max_length, max_steps = 4, pretraining.data.max_length, 200
    else:
        group_size, max_length, max_steps = 16, 512, pairs
    return replace(
        pretraining,
        # Exactly proportional: one epoch then sees each pair once, up to a batch of each source.
        data=replace(pretraining.data, alpha=1.0, group_size=group_size, max_length=max_length),
        model=replace(pretraining.model, base=model),
        training=replace(
            pretraining.training,
            steps=max(1, min(round(pairs / global_batch), max_steps)),
            global_batch=global_batch,
            learning_rate=pretraining.training.learning_rate / 10,
        ),
    )


RECIPES: dict[str, Callable[[str], Config]] = {
    "tiny": tiny,
    "gte-small": gte_small,
    "gte-base": gte_base,
    "gte-large": gte_large,
    "gte-modernbert": gte_modernbert,
    "qwen3-embedding-0.6b": qwen3_embedding,
}


def recipe(name: str, store: str) -> Config:
    """The config of recipe `name` on `store`. Raises UsageError if there is no recipe of that name."""
    if name not in RECIPES:
        raise UsageError(f"--recipe is {name!r}; allowed are {', '.join(RECIPES)}")
    return RECIPES[name](store)
