"""A run before its first step: combines and checks its config, store, plan, tokenizer and folder."""

import dataclasses
import json
import os
from dataclasses import dataclass
from typing import Literal

from gte_ray.config import Config, Pooling
from gte_ray.data.ids import train_vocabulary
from gte_ray.data.mixture import PlanSource
from gte_ray.data.read import StreamConfig
from gte_ray.data.step_plan import StepPlan
from gte_ray.data.store import Store, open_store
from gte_ray.data.tokenize import TextTokenizer, load_tokenizer
from gte_ray.errors import RunError
from gte_ray.pretrained.identity import identity
from gte_ray.pretrained.prompts import given_to
from gte_ray.pretrained.settings import Settings
from gte_ray.runs.base import base_settings, base_warnings, resolve_pooling
from gte_ray.runs.guide import guide_reader, guide_warnings
from gte_ray.runtime import storage
from gte_ray.tracking.server import resolve_uri

MODEL_FOLDER = "model"
JOB_FOLDER = "/_ray_pkg_"
"""Part of the path of a Ray job's working directory."""


@dataclass(frozen=True)
class Run:
    """A config resolved against its store: everything that is fixed before the first step."""

    config: Config
    store: Store
    plan: StepPlan
    fingerprint: str
    folder: str
    base: Settings | None = None
    """Settings in the base model's folder. None for random weights, or if it cannot be reached yet."""

    @property
    def name(self) -> str:
        return self.config.run.name

    @property
    def model_folder(self) -> str:
        return storage.join(self.folder, MODEL_FOLDER)


def plan_run(
    config: Config, base_identity: str = "", base_pooling: Pooling | Literal["base"] = "base"
) -> Run:
    """Opens the store and plans the run. Raises UsageError or RunError with one sentence.

    `base_identity` and `base_pooling` describe a base model that does not exist yet (see `identity.of_run`).
    """
    resolve_uri(config.run.tracking_uri)
    storage.check_reachable(config.run.output)
    store = open_store(config.data.store)
    plan = plan_steps(config, store)
    config, grouping = _resolved_sources(config, store, plan)
    store = Store(storage.absolute(store.uri), store.manifest)  # for processes in other working directories
    contents = store.fingerprint + grouping
    if config.model.base == "scratch" and store.manifest.tokenizer is not None:
        contents += store.manifest.tokenizer.fingerprint
    if config.objective.guide:
        guide = storage.absolute_folder(config.objective.guide)
        config = dataclasses.replace(config, objective=dataclasses.replace(config.objective, guide=guide))
    base = None
    if not base_identity:
        name = storage.absolute_folder(config.model.base, "scratch")
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, base=name))
        base, base_identity = base_settings(name), identity(name)
    config, fingerprint = resolve_pooling(
        config, contents, base_identity, base.pooling if base else base_pooling
    )
    name = config.run.name or f"{config.recipe}-{fingerprint[:8]}"
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, store=storage.absolute(config.data.store)),
        run=dataclasses.replace(config.run, name=name, output=storage.absolute(config.run.output)),
    )
    return Run(config, store, plan, fingerprint, storage.join(config.run.output, name), base)


def _resolved_sources(config: Config, store: Store, plan: StepPlan) -> tuple[Config, str]:
    """`config` with the names of parts for those of split sources, and what the plan depends on beside its fields.

    That is which sources are parts of one, where parts have an exponent of their own; it is dropped where none is.
    """
    data = config.data
    if data.sources:
        data = dataclasses.replace(data, sources=tuple(info.name for info in store.chosen(data.sources)))
    parts = [(source.name, source.split_of) for source in plan.sources if source.split_of]
    if not parts:
        data = dataclasses.replace(data, split_alpha=None)
    grouping = json.dumps(parts) if data.split_alpha is not None else ""
    return dataclasses.replace(config, data=data), grouping


def plan_steps(config: Config, store: Store) -> StepPlan:
    """The step plan of `config` on `store`, over the sources that `config` names, or all of them."""
    chosen = store.chosen(config.data.sources)
    usable = [PlanSource(source.name, source.rows, source.split_of) for source in chosen if source.rows > 0]
    if not usable:
        raise RunError(f"{store.uri}: no source has a pair to train on")
    if config.objective.teacher_weight and not any(source.teacher for source in chosen):
        raise RunError(
            f"{store.uri}: --teacher-weight is {config.objective.teacher_weight:g}, but no source has scores of a teacher; "
            "`python -m gte_ray.score` adds them"
        )
    return StepPlan(
        usable,
        alpha=config.data.alpha,
        global_batch=config.training.global_batch,
        seed=config.seed,
        steps=config.training.steps,
        planned=config.training.planned_steps,
        split_alpha=config.data.split_alpha,
    )


def warnings(run: Run) -> list[str]:
    """Warnings about settings and data that may be intended."""
    batch = run.config.training.global_batch
    small = [f"{source.name} ({source.rows:,})" for source in run.plan.sources if source.rows < batch]
    messages = []
    if small:
        messages.append(
            f"global batch {batch:,} is larger than these sources, whose pairs repeat within a batch: "
            + ", ".join(small)
        )
    empty = [source.name for source in run.store.manifest.sources if source.rows == 0]
    if empty:
        messages.append(f"sources without pairs to train on are left out: {', '.join(empty)}")
    chosen = {source.name for source in run.plan.sources}
    bare = [s.name for s in run.store.manifest.sources if s.name in chosen and not s.negatives]
    if bare and run.config.data.group_size > 1:
        messages.append(f"sources without hard negatives, which get random documents: {', '.join(bare)}")
    untaught = [s.name for s in run.store.manifest.sources if s.name in chosen and not s.teacher]
    if untaught and run.config.objective.teacher_weight:
        messages.append(
            f"sources without scores of a teacher, which only the contrastive loss is for: {', '.join(untaught)}"
        )
    destinations = {"output": run.config.run.output, "tracking-uri": resolve_uri(run.config.run.tracking_uri)}
    lost = [flag for flag, uri in destinations.items() if JOB_FOLDER in os.getcwd() and os.getcwd() in uri]
    if lost:
        messages.append(
            "the job's copy of the working directory is deleted with the cluster, and what is written there with "
            f"it; give an absolute --{' and --'.join(lost)}"
        )
    messages += guide_warnings(run.config) + _slow_formats(run.config)
    return messages + base_warnings(run.config, run.base, run.store.manifest.tokenizer is not None)


def _slow_formats(config: Config) -> list[str]:
    """A warning if the format of numbers is one that this processor has not."""
    if config.hardware.gpu or config.training.precision != "bf16":
        return []
    import torch

    if any(has for name, has in torch.cpu.get_capabilities().items() if "bf16" in name):
        return []
    return ["--precision bf16: this processor has no such numbers, so that it is slower than with fp32"]


def resolve_tokenizer(run: Run) -> TextTokenizer:
    """The tokenizer of the base model. For random weights, the store's, or else one trained on its texts."""
    model = run.config.model
    if model.base != "scratch":
        tokenizer = load_tokenizer(model.base)
    elif run.store.manifest.tokenizer is not None:
        tokenizer = run.store.load_tokenizer()
    else:
        tokenizer = train_vocabulary(run.store, model.vocab_size)
    return tokenizer.with_prompts(given_to(model))


def make_stream(run: Run, tokenizer: TextTokenizer) -> StreamConfig:
    """The stream of `run`. Raises RunError if the store's token ids do not fit `tokenizer` or the config."""
    config, stored = run.config, run.store.manifest.tokenizer
    use_stored = False
    if stored is not None and not config.hardware.retokenize and not tokenizer.prompts:
        use_stored = True
        remedy = "prepare the store with this tokenizer, or give --retokenize to use its texts"
        if stored.fingerprint != tokenizer.fingerprint:
            raise RunError(
                f"{run.store.uri}: its token ids are of another tokenizer ({stored.fingerprint}) than that of "
                f"{config.model.base} ({tokenizer.fingerprint}); {remedy}"
            )
        if stored.max_length < config.data.max_length:
            raise RunError(
                f"{run.store.uri}: its token ids are cut at {stored.max_length} tokens, below --max-length "
                f"{config.data.max_length}; {remedy}"
            )
    return StreamConfig(
        store=config.data.store,
        sources=run.plan.sources,
        alpha=config.data.alpha,
        global_batch=config.training.global_batch,
        seed=config.seed,
        steps=config.training.steps,
        max_length=config.data.max_length,
        tokenizer=tokenizer,
        stored_ids=use_stored,
        group_size=config.data.group_size,
        teacher=config.objective.teacher_weight > 0,
        guide=guide_reader(config, tokenizer),
        planned_steps=config.training.planned_steps,
        split_alpha=config.data.split_alpha,
    )
