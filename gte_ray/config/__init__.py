"""The whole description of a run: one frozen tree of typed fields.

Field names are unique over the tree, so that each is one command-line flag. What is computed (`seed`,
`data`, `model`, `objective`, `training`) makes the fingerprint of a run; where and how it is computed
(`hardware`, `run`) does not.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro
from annotated_types import Ge

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
    Share,
    Workers,
    ZeroStage,
    flag,
    renamed,
)
from gte_ray.config.typed import Allowed, Misfit, plain, read
from gte_ray.errors import UsageError

COMPUTATION = 3
"""Raised when the same config begins to compute something else: older runs are then not taken for it."""


@dataclass(frozen=True)
class PairsConfig:
    """Which pairs are trained on, and how sources are mixed."""

    store: Place
    """Pair store: a folder, or an s3:// or gs:// URI."""
    sources: tuple[str, ...] = ()
    """Names of the sources to train on; empty for all that the store has."""
    alpha: FromZero = 0.5
    """Exponent of the source sizes in the mixture, p ~ n^alpha (eq. 4); 0 is uniform, 1 exactly proportional."""
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
    ones: 0.1 in Qwen3-Embedding. 0 for none, which is the paper."""


@dataclass(frozen=True)
class TrainingConfig:
    """How long, how large and how fast (section 3.4, Table 3)."""

    steps: Count
    """Optimizer steps of the run."""
    global_batch: Annotated[int, Ge(2), Allowed("at least 2 pairs: one is no contrast")]
    """Pairs of one step over all workers together."""
    learning_rate: Positive
    """Highest learning rate, reached at the end of the warm-up (Table 3)."""
    warmup: Share = 0.05
    """Share of the steps over which the learning rate rises; it falls linearly to 0 afterwards."""
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
    """Number format of the forward and backward pass; fp16 and bf16 need a GPU."""


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
    """`heldout@1000` scores the weights after each 1000 steps too, beside the training; empty for the last alone."""
    tracking_uri: str = "sqlite:///mlflow.db"
    """MLflow tracking server or database."""
    experiment: str = "gte_ray"
    """MLflow experiment that the run is filed under."""


@dataclass(frozen=True)
class Config:
    """A run. `validate` it once where it enters the program."""

    recipe: str
    """Name of the recipe that the fields started from."""
    data: PairsConfig
    model: ModelConfig
    objective: ObjectiveConfig
    training: TrainingConfig
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    run: OutputConfig = field(default_factory=OutputConfig)
    seed: Annotated[int, Ge(0)] = 42
    """Seed of the source order, the row order, the initial weights and dropout."""

    __pydantic_config__ = {"allow_inf_nan": False}  # noqa: RUF012 - of pydantic, not a field

    @property
    def cpus(self) -> float:
        """Logical CPUs of the workers, and of the process that scores beside them."""
        return self.hardware.workers.most * self.hardware.worker_cpus + (1 if self.run.eval.every else 0)

    def to_dict(self) -> dict[str, Any]:
        """Its plain values by section and field, as JSON takes them."""
        return plain(self)

    def fingerprint(self, store_fingerprint: str, base_identity: str) -> str:
        """16 hex digits that are equal exactly when two runs compute the same thing.

        `store_fingerprint` stands for the pairs and `base_identity` for the weights of the base model, whose
        locations do not count.
        """
        identity = {
            k: v for k, v in dataclasses.asdict(self).items() if k not in ("recipe", "hardware", "run")
        }
        identity["computation"] = COMPUTATION
        identity["data"]["store"] = store_fingerprint
        identity["model"]["base"] = base_identity
        identity["data"]["sources"] = sorted(self.data.sources)
        identity["objective"]["directions"] = sorted(self.objective.directions)
        if not self.objective.false_negative_margin:
            del identity["objective"]["false_negative_margin"]  # as before there was one
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def from_dict(value: dict[str, Any]) -> Config:
    """The config that `Config.to_dict` described, also in an older version. UsageError for a field out of range."""
    try:
        return read(Config, renamed(value))
    except Misfit as error:
        name = [part for part in error.path if isinstance(part, str)][-1]
        raise UsageError(f"--{name.replace('_', '-')} {error.problem}") from error


def validate(config: Config) -> Config:
    """`config` itself, or UsageError with the first field that is out of range, by itself or beside others.

    Rules across fields are ours: in pydantic they would be methods whose errors name no field."""
    from_dict(config.to_dict())
    d, m, o = config.data, config.model, config.objective
    t, h, r = config.training, config.hardware, config.run
    rules: list[tuple[bool, str, Any, str]] = [
        (len(set(d.sources)) == len(d.sources), "sources", " ".join(d.sources), "each source once"),
        (m.hidden_size % m.heads == 0, "hidden-size", m.hidden_size, f"a multiple of heads ({m.heads})"),
        (len(set(o.directions)) == len(o.directions), "directions", o.directions, "each direction once"),
        ("q2d" in o.directions, "directions", o.directions, "a set that has q2d"),
        (h.gpu or t.precision == "fp32", "precision", t.precision, "fp32 where there is no GPU (--no-gpu)"),
        (h.workers.most <= t.global_batch, "workers", h.workers, f"at most global-batch ({t.global_batch})"),
        (h.micro_batch_tokens >= d.max_length, "micro-batch-tokens", h.micro_batch_tokens,
         f"at least max-length ({d.max_length})"),
        ("/" not in r.name and r.name not in (".", ".."), "name", r.name, "a name without /"),
        (r.eval.every % r.checkpoint_every == 0, "eval", r.eval,
         f"heldout@STEPS with a multiple of checkpoint-every ({r.checkpoint_every})"),
    ]  # fmt: skip
    for holds, name, value, allowed in rules:
        if not holds:
            raise UsageError(f"--{name} is {value!r}; allowed is {allowed}")
    return config
