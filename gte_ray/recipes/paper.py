"""The paper's recipes (Table 3, section 3.4), and a tiny one: functions that return a complete config."""

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
    return paper(
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
    return paper(
        "gte-base",
        store,
        ModelConfig(base="google-bert/bert-base-uncased"),
        learning_rate=2e-4,
        workers=4,
    )


def gte_large(store: str) -> Config:
    """Table 3: 330M parameters, learning rate 5e-5, 8 GPUs."""
    return paper(
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


def paper(
    name: str,
    store: str,
    model: ModelConfig,
    learning_rate: float,
    workers: int,
    gradient_checkpointing: bool = False,
) -> Config:
    """The settings that all of the paper's models share, around what differs."""
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
