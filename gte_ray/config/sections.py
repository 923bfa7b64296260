"""The sections of the config, each with the fields of one concern."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro
from annotated_types import Ge, Le

from gte_ray.config.fields import (
    IMPROVED,
    Base,
    Count,
    Direction,
    Evaluation,
    FromZero,
    Place,
    Pooling,
    Positive,
    Precision,
    Schedule,
    Share,
    TeacherLoss,
    Workers,
    ZeroStage,
    flag,
)
from gte_ray.config.typed import Allowed


@dataclass(frozen=True)
class PairsConfig:
    """Which pairs are trained on, and how sources are mixed."""

    store: Place
    """Pair store: a folder, or an s3:// or gs:// URI."""
    sources: tuple[str, ...] = ()
    """Names of the sources to train on; empty for all that the store has."""
    alpha: FromZero = 0.5
    """Exponent of the source sizes in the mixture, p ~ n^alpha (eq. 4); 0 is uniform, 1 exactly proportional."""
    split_alpha: FromZero | None = None
    """The same exponent among the parts of a source that was split (split_by), such as its languages: the source has its
    share by all of its pairs, and its parts theirs of that. If not given, each part counts as a source."""
    max_length: Annotated[int, Ge(3)] = 128
    """Tokens of a text, special tokens included; the rest is cut off (section 3.4)."""
    group_size: Count = 1
    """Documents of a pair: its own and group-size - 1 hard or random negatives (section 3.4); 1 for pairs."""


@dataclass(frozen=True)
class ModelConfig:
    """The backbone: a pre-trained one, or BERT of the sizes below from random weights."""

    base: Annotated[Base, tyro.conf.arg(aliases=["--model"])]
    """Hugging Face id or folder of a pre-trained encoder, or `scratch` for random weights."""
    vocab_size: Annotated[int, Ge(100)] = 30522
    """Entries of the WordPiece vocabulary trained on the store; `scratch` only."""
    hidden_size: Count = 768
    """Width of the backbone and dimension D of the embedding; `scratch` only."""
    layers: Count = 12
    """Transformer layers; `scratch` only."""
    heads: Count = 12
    """Attention heads; `scratch` only."""
    intermediate_size: Count = 3072
    """Width of the feed-forward layers; `scratch` only."""
    hidden_dropout: Share = 0.0
    """Dropout probability of hidden states: those of embeddings, of attention's output and of feed-forward layers.
    Above 0 its draws depend on the number of workers and the micro-batches; 0 makes runs the same on any."""
    attention_dropout: Share = 0.0
    """Dropout probability of attention weights; above 0 as hidden-dropout, and on a GPU texts are then padded."""
    pooling: Pooling | Literal["base"] = "base"
    """How the states of a text's tokens become its embedding: their mean, that of the first token (cls) or of the
    last; `base` for what the base model's folder says, the mean where it says nothing and for `scratch`."""
    lora_rank: Annotated[int, Ge(0)] = 0
    """Rank of low-rank adapters (LoRA) beside each linear layer of the base model, which alone are trained; 0 to train all
    weights, as the paper does. The exported model has them merged."""
    lora_alpha: Count = 32
    """Scale of the adapters: their product is multiplied by it over lora-rank; lora-rank above 0 only."""
    prompt_query: str | None = None
    """Text in front of queries, tokenised with them; if not given, what the base model's folder says."""
    prompt_document: str | None = None
    """Text in front of documents, hard negatives included; if not given, what the base model's folder says."""
    pool_prompts: bool | None = None
    """Whether the tokens of prompts are pooled with those of their texts; if not given, what the base model's folder says
    (include_prompt), and yes where it says nothing."""


@dataclass(frozen=True)
class ObjectiveConfig:
    """The contrastive loss (eqs. 5 and 6)."""

    directions: tuple[Direction, ...] = IMPROVED
    """Which sums make up the partition function: all four are eq. 6, q2d alone is the vanilla loss."""
    temperature: Positive = 0.01
    """Softmax temperature (section 3.4)."""
    mask_duplicates: bool = True
    """Whether the texts of pairs that share a text are kept from being each other's negatives; off is the paper."""
    false_negative_margin: FromZero = 0.0
    """Candidates more similar than the pair's own document by over this much are no negatives, as likely false
    ones: 0.1 in Qwen3-Embedding. Each sum goes by its own similarities, that of documents with documents (d2d) by how near
    they are to the pair's document. 0 for none, which is the paper."""
    guide: str = ""
    """Hugging Face id or folder of an embedding model that says so too (GISTEmbed): candidates that it finds more similar
    than the pair's own document are no negatives. Empty for none, which is the paper."""
    guide_margin: Annotated[float, Ge(-2), Le(2)] = 0.0
    """By how much more similar; below 0 also those a little less similar. Of no effect without guide."""
    dimensions: tuple[Count, ...] = ()
    """Matryoshka: numbers of first dimensions that serve as embeddings too, beside the whole, which is one of them, as
    in 768 256 64. The loss is the sum over them. Empty for the whole alone, which is the paper."""
    dimension_weights: tuple[Positive, ...] = ()
    """Weight of each of `dimensions` in the sum, in their order; empty for 1 each."""
    teacher_weight: FromZero = 0.0
    """Weight of a second loss, beside the contrastive one: how far the model is from the scores that a teacher gave a pair's
    own document and its hard negatives, which `gte_ray.score` keeps in a store. 0 for none, which is the paper."""
    teacher_loss: TeacherLoss = "kl"
    """What is compared: the distributions over these documents (kl), or how far each negative's score is below the
    document's own (margin-mse). Of no effect without teacher-weight, like the next."""
    teacher_temperature: Positive = 1.0
    """The teacher's scores are divided by it: 1 suits the logits of a cross-encoder, 0.02 the cosines of an embedding model."""

    @property
    def levels(self) -> tuple[tuple[int, float], ...]:
        """`dimensions` with their weights, the whole first."""
        weights = self.dimension_weights or (1.0,) * len(self.dimensions)
        return tuple(sorted(zip(self.dimensions, weights, strict=True), reverse=True))


@dataclass(frozen=True)
class TrainingConfig:
    """How long, how large and how fast (section 3.4, Table 3)."""

    steps: Count
    """Optimizer steps of the run. Given lower for a run that has begun, and its --name, they end it there: its learning
    rate falls to 0 from its last checkpoint on, and its batches stay those that it was planned with."""
    global_batch: Annotated[int, Ge(2), Allowed("at least 2 pairs: one is no contrast")]
    """Pairs of one step over all workers together."""
    learning_rate: Positive
    """Highest learning rate, reached at the end of the warm-up (Table 3)."""
    warmup: Share = 0.05
    """Share of the steps over which the learning rate rises; it falls to 0 afterwards."""
    schedule: Schedule = "linear"
    """How it falls: linear, by a cosine, or wsd (warm-up, stable, decay), which keeps it until the cooldown."""
    cooldown: Share = 0.1
    """Share of the steps, the last ones, over which the learning rate of wsd falls linearly to 0; wsd only."""
    weight_decay: FromZero = 0.01
    """Decoupled weight decay of AdamW."""
    adam_beta1: Share = 0.9
    """Decay rate of AdamW's first moment."""
    adam_beta2: Share = 0.999
    """Decay rate of AdamW's second moment."""
    adam_epsilon: Positive = 1e-8
    """Term that keeps AdamW's denominator from 0."""
    max_grad_norm: FromZero = 1.0
    """Global gradient norm above which gradients are scaled down; 0 for no clipping."""
    precision: Precision = "fp16"
    """Number format of the forward and backward pass. fp16 needs a GPU, and bf16 a processor that has it, or it is slow."""
    planned_steps: Annotated[int, Ge(0)] = 0
    """Steps that the batches, and the learning rate up to lowered-at, are planned for; 0 for those of the run. Of a run whose
    steps were lowered, which sets it."""
    lowered_at: Annotated[int, Ge(0)] = 0
    """Step from which the learning rate falls to 0 in a line, whatever the schedule; with planned-steps only."""


@dataclass(frozen=True)
class HardwareConfig:
    """Where and how the run is computed.

    Without dropout no field changes what is computed, up to rounding. With dropout its draws depend on the
    workers, on micro-batch-tokens and on the kind of device: those runs then differ as by another seed.
    """

    workers: Annotated[Workers, flag("workers", Workers, "INT[:INT]")] = Workers.exactly(1)
    """Training processes, one for each GPU; `2:8` for as many as the cluster has room for, from 2 to 8."""
    gpu: bool = True
    """Whether each worker has a GPU."""
    worker_cpus: Positive = 1.0
    """Logical CPUs reserved for each worker in Ray's scheduling."""
    threads: Count = 1
    """CPU threads of each worker's tensor operations."""
    micro_batch_tokens: int = 65_536
    """Tokens, padding included, of one forward and backward pass."""
    graph_tokens: Annotated[int, Ge(0)] = 65_536
    """Tokens whose activations are kept from the first forward pass; the rest is computed twice."""
    loss_tile: Count = 4_096
    """Rows of the similarity matrices that exist at one time."""
    gradient_checkpointing: bool = False
    """Whether layers recompute their activations in the backward pass, to save memory."""
    retokenize: bool = False
    """Whether texts are tokenised while training even where the store has token ids."""
    zero_stage: ZeroStage = 1
    """DeepSpeed ZeRO stage, 0 or 1; 2 and 3 reduce at each backward pass and are refused."""


@dataclass(frozen=True)
class OutputConfig:
    """What a run is called and where it leaves things."""

    output: Place = "runs"
    """Folder or URI under which each run has a folder of its name."""
    name: str = ""
    """Name of the run; empty for recipe and fingerprint. The same name goes on with the same run."""
    checkpoint_every: Count = 1_000
    """Steps between checkpoints; the last step always makes one."""
    checkpoints_kept: Count = 2
    """Checkpoints kept on storage; older ones are deleted."""
    max_failures: Annotated[int, Ge(0)] = 3
    """Times that training is restarted after a worker or node is lost."""
    eval_limit: Annotated[int, Ge(0)] = 1_000
    """Most held-out pairs of a source that the evaluation uses; 0 for none."""
    eval: Annotated[Evaluation, flag("eval", Evaluation, "SCOREBOARD@STEPS")] = Evaluation()
    """`heldout@1000` scores the weights after each 1000 steps too, beside the training; empty for the last alone. In
    place of heldout it may be a benchmark that evaluate takes, such as beir or a folder, then also after the last step."""
    tracking_uri: str = "sqlite:///mlflow.db"
    """MLflow tracking server or database."""
    experiment: str = "gte_ray"
    """MLflow experiment that the run is filed under."""
    register: str = ""
    """Name in MLflow's model registry of which the trained model becomes a version; empty for none."""
