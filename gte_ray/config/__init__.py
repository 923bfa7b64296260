"""The whole description of a run: one frozen tree of typed fields.

Field names are unique over the tree, so that each is one command-line flag. What is computed (`seed`,
`data`, `model`, `objective`, `training`) makes the fingerprint of a run; where and how it is computed
(`hardware`, `run`) does not.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Ge

from gte_ray.config.fields import (
    ALLOWED_EVALUATION,
    IMPROVED,
    Direction,
    Evaluation,
    Pooling,
    Precision,
    TeacherLoss,
    Workers,
    renamed,
)
from gte_ray.config.sections import (
    HardwareConfig,
    ModelConfig,
    ObjectiveConfig,
    OutputConfig,
    PairsConfig,
    TrainingConfig,
)
from gte_ray.config.typed import Misfit, plain, read
from gte_ray.errors import UsageError

__all__ = [
    "IMPROVED",
    "Config",
    "Direction",
    "Evaluation",
    "HardwareConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "OutputConfig",
    "PairsConfig",
    "Pooling",
    "Precision",
    "TeacherLoss",
    "TrainingConfig",
    "Workers",
    "check_dimensions",
    "from_dict",
    "validate",
]

COMPUTATION = 3
"""Raised when the same config begins to compute something else: older runs are then not taken for it."""


@dataclass(frozen=True)
class Config:
    """A run. `validate` it once where it enters the program."""

    recipe: str
    """Name of the recipe that the fields started from; LIST shows all of them."""
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

    def fingerprint(self, store_fingerprint: str, base_identity: str, guide_identity: str = "") -> str:
        """16 hex digits that are equal exactly when two runs compute the same thing.

        `store_fingerprint` stands for the pairs, `base_identity` and `guide_identity` for the weights of the base model
        and of the guide, whose locations do not count.
        """
        identity = {
            k: v for k, v in dataclasses.asdict(self).items() if k not in ("recipe", "hardware", "run")
        }
        identity["computation"] = COMPUTATION
        identity["data"]["store"] = store_fingerprint
        identity["model"]["base"] = base_identity
        identity["data"]["sources"] = sorted(self.data.sources)
        identity["objective"]["directions"] = sorted(self.objective.directions)
        identity["objective"]["guide"] = guide_identity
        identity["objective"]["dimensions"] = self.objective.levels
        del identity["objective"]["dimension_weights"]
        if self.training.schedule != "wsd":
            del identity["training"]["cooldown"]
        if not self.model.lora_rank:
            for name in ("lora_rank", "lora_alpha"):
                del identity["model"][name]
        if not self.objective.teacher_weight:
            for name in ("teacher_weight", "teacher_loss", "teacher_temperature"):
                del identity["objective"][name]
        if not self.objective.guide:
            for name in ("guide", "guide_margin"):
                del identity["objective"][name]
        # What is off is left out, so that runs of older versions, which did not have it, stay the same.
        off = (
            ("data", "split_alpha", None),
            ("objective", "false_negative_margin", 0),
            ("objective", "dimensions", ()),
            ("training", "schedule", "linear"),
            ("training", "planned_steps", 0),
            ("training", "lowered_at", 0),
            ("model", "prompt_query", None),
            ("model", "prompt_document", None),
            ("model", "pool_prompts", None),
        )
        for section, name, value in off:
            if identity[section][name] == value:
                del identity[section][name]
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
        (not m.lora_rank or m.base != "scratch", "lora-rank", m.lora_rank, "0 with random weights (--model scratch)"),
        (len(set(o.directions)) == len(o.directions), "directions", o.directions, "each direction once"),
        (len(set(o.dimensions)) == len(o.dimensions), "dimensions", " ".join(map(str, o.dimensions)), "each once"),
        (len(o.dimension_weights) in (0, len(o.dimensions)), "dimension-weights",
         " ".join(f"{weight:g}" for weight in o.dimension_weights), f"one for each of dimensions ({len(o.dimensions)})"),
        ("q2d" in o.directions, "directions", o.directions, "a set that has q2d"),
        (not o.teacher_weight or d.group_size > 1, "teacher-weight", o.teacher_weight,
         "0 for pairs without negatives (group-size 1)"),
        (t.schedule != "wsd" or t.warmup + t.cooldown <= 1, "cooldown", t.cooldown,
         f"what is left after warmup ({t.warmup:g}) at most"),
        (not t.planned_steps or t.planned_steps > t.steps, "planned-steps", t.planned_steps,
         f"0 or more than steps ({t.steps})"),
        (t.lowered_at <= t.steps if t.planned_steps else not t.lowered_at, "lowered-at", t.lowered_at,
         f"at most steps ({t.steps}), and with planned-steps only"),
        (h.gpu or t.precision != "fp16", "precision", t.precision,
         "fp32 or bf16 where there is no GPU (--no-gpu)"),
        (h.workers.most <= t.global_batch, "workers", h.workers, f"at most global-batch ({t.global_batch})"),
        (h.micro_batch_tokens >= d.max_length, "micro-batch-tokens", h.micro_batch_tokens,
         f"at least max-length ({d.max_length})"),
        ("/" not in r.name and r.name not in (".", ".."), "name", r.name, "a name without /"),
        (r.eval.every % r.checkpoint_every == 0, "eval", r.eval,
         f"{ALLOWED_EVALUATION} ({r.checkpoint_every})"),
    ]  # fmt: skip
    for holds, name, value, allowed in rules:
        if not holds:
            raise UsageError(f"--{name} is {value!r}; allowed is {allowed}")
    if m.base == "scratch":
        check_dimensions(o.dimensions, m.hidden_size)
    return config


def check_dimensions(dimensions: Sequence[int], whole: int) -> None:
    """UsageError if the numbers of first dimensions are not those of vectors that have `whole`."""
    if dimensions and max(dimensions) != whole:
        raise UsageError(
            f"--dimensions is {' '.join(map(str, dimensions))!r}; allowed are {whole}, which the model's vectors have, "
            "and smaller ones beside it"
        )
