"""A run before its first step: config, store, plan, tokenizer and folder brought together and checked."""

import dataclasses
import os
import secrets
from dataclasses import dataclass
from typing import Any, Literal

from gte_ray import storage, weights
from gte_ray.base import base_settings, base_warnings, resolve_pooling
from gte_ray.config import Config, Pooling, from_dict
from gte_ray.data.ids import train_vocabulary
from gte_ray.data.plan import PlanSource, StepPlan
from gte_ray.data.read import StreamConfig
from gte_ray.data.store import Store, open_store
from gte_ray.data.tokenize import TextTokenizer, load_tokenizer
from gte_ray.errors import RunError, UsageError
from gte_ray.settings import Settings
from gte_ray.tracking_uri import resolve_uri, without_password

CONFIG_FILE = "config.json"
RESULTS_FILE = "results.json"
MODEL_FOLDER = "model"
JOB_FOLDER = "/_ray_pkg_"
"""Part of the path that a Ray job works in."""
OTHERWISE = "the store's pairs or tokenizer, the base model's weights or the version of gte_ray differ"
"""What a fingerprint holds beside the settings."""


@dataclass(frozen=True)
class Run:
    """A config that has met its store: everything that is fixed before the first step."""

    config: Config
    store: Store
    plan: StepPlan
    fingerprint: str
    folder: str
    base: Settings | None = None
    """What the base model's folder says; None from random weights, or where it cannot be reached yet."""

    @property
    def name(self) -> str:
        return self.config.run.name

    @property
    def model_folder(self) -> str:
        return storage.join(self.folder, MODEL_FOLDER)


def plan_run(
    config: Config, base_identity: str = "", base_pooling: Pooling | Literal["base"] = "base"
) -> Run:
    """Opens the store and plans the run. Raises UsageError or RunError in one sentence.

    `base_identity` and `base_pooling` are for a base model that does not exist yet (see `weights.of_run`).
    """
    resolve_uri(config.run.tracking_uri)
    storage.reach(config.run.output)
    store = open_store(config.data.store)
    plan = plan_steps(config, store)
    contents = store.fingerprint
    if config.model.base == "scratch" and store.manifest.tokenizer is not None:
        contents += store.manifest.tokenizer.fingerprint
    base = None
    if not base_identity:
        name = storage.absolute_folder(config.model.base, "scratch")
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, base=name))
        base, base_identity = base_settings(name), weights.identity(name)
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


def plan_steps(config: Config, store: Store) -> StepPlan:
    """The step plan of `config` on `store`, over the sources that it names."""
    chosen = [store.source(name) for name in config.data.sources] or list(store.manifest.sources)
    usable = [PlanSource(source.name, source.rows) for source in chosen if source.rows > 0]
    if not usable:
        raise RunError(f"{store.uri}: no source has a pair to train on")
    return StepPlan(
        usable,
        alpha=config.data.alpha,
        global_batch=config.training.global_batch,
        seed=config.seed,
        steps=config.training.steps,
    )


def warnings(run: Run) -> list[str]:
    """What a user should know and may well intend."""
    batch = run.config.training.global_batch
    small = [f"{source.name} ({source.rows:,})" for source in run.plan.sources if source.rows < batch]
    found = []
    if small:
        found.append(
            f"global batch {batch:,} is larger than these sources, whose pairs repeat within a batch: "
            + ", ".join(small)
        )
    empty = [source.name for source in run.store.manifest.sources if source.rows == 0]
    if empty:
        found.append(f"sources without pairs to train on are left out: {', '.join(empty)}")
    chosen = {source.name for source in run.plan.sources}
    bare = [s.name for s in run.store.manifest.sources if s.name in chosen and not s.negatives]
    if bare and run.config.data.group_size > 1:
        found.append(f"sources without hard negatives, which get random documents: {', '.join(bare)}")
    places = {"output": run.config.run.output, "tracking-uri": resolve_uri(run.config.run.tracking_uri)}
    lost = [flag for flag, place in places.items() if JOB_FOLDER in os.getcwd() and os.getcwd() in place]
    if lost:
        found.append(
            "the job's copy of the working directory is deleted with the cluster, and what is written there with "
            f"it; give an absolute --{' and --'.join(lost)}"
        )
    if run.base is not None:
        found += base_warnings(run.config, run.base, run.store.manifest.tokenizer is not None)
    return found


def open_run(run: Run, fresh: bool) -> None:
    """Makes the run's folder, or checks that the one there is of this very run; `fresh` starts over.

    Raises UsageError for a folder of another run, and rather than touching what is none.
    """
    recorded, key = _recorded(run), f"{run.name}-{secrets.token_hex(4)}"
    if fresh and recorded is not None:
        storage.delete(run.folder)
    elif fresh and storage.exists(run.folder):
        raise UsageError(
            f"--fresh: {run.folder} is no run's folder, so it is not deleted; give another --name or --output"
        )
    elif recorded is not None:
        key = recorded["key"]
        if recorded["fingerprint"] != run.fingerprint:
            changed = differences(from_dict(recorded["config"]), run.config) or OTHERWISE
            raise UsageError(
                f"--name {run.name}: a run of that name was made with other settings ({changed}); "
                "give another --name, or --fresh to start over"
            )
    storage.write_json(
        storage.join(run.folder, CONFIG_FILE),
        {"key": key, "fingerprint": run.fingerprint, "config": public(run.config).to_dict()},
    )


def _recorded(run: Run) -> dict[str, Any] | None:
    """What the folder says of its run, None where it says nothing."""
    path = storage.join(run.folder, CONFIG_FILE)
    if not storage.exists(path):
        return None
    found = storage.read_json(path)
    if "key" not in found:
        raise UsageError(f"{path} is not that of a run; give another --name or --output")
    return found


def public(config: Config) -> Config:
    """`config` with users and passwords in its URIs blotted out, for others to see."""

    def blotted(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: blotted(part) for name, part in value.items()}
        return without_password(value) if isinstance(value, str) else value

    return from_dict(blotted(config.to_dict()))


def run_key(run: Run) -> str:
    """What MLflow knows the opened `run` by: another one after each fresh start."""
    return storage.read_json(storage.join(run.folder, CONFIG_FILE))["key"]


def differences(old: Config, new: Config) -> str:
    """The fields of what is computed that differ, as `alpha 0.5 -> 1.0, ...`."""
    changed = []
    for section in ("data", "model", "objective", "training"):
        before, after = getattr(old, section), getattr(new, section)
        for field in dataclasses.fields(before):
            one, other = getattr(before, field.name), getattr(after, field.name)
            if one != other and field.name != "store":
                changed.append(f"{field.name} {one} -> {other}")
    if old.seed != new.seed:
        changed.append(f"seed {old.seed} -> {new.seed}")
    return ", ".join(changed)


def resolve_tokenizer(run: Run) -> TextTokenizer:
    """The tokenizer of the base model; for random weights the store's, or one trained on its texts."""
    base, known = run.config.model.base, run.store.manifest.tokenizer
    if base != "scratch":
        return load_tokenizer(base)
    if known is not None:
        return run.store.load_tokenizer()
    return train_vocabulary(run.store, run.config.model.vocab_size)


def make_stream(run: Run, tokenizer: TextTokenizer) -> StreamConfig:
    """The stream of `run`; RunError when the store's token ids are not of `tokenizer`."""
    config, known = run.config, run.store.manifest.tokenizer
    stored = False
    if known is not None and not config.hardware.retokenize and not tokenizer.prompts:
        stored = True
        remedy = "prepare the store with this tokenizer, or give --retokenize to use its texts"
        if known.fingerprint != tokenizer.fingerprint:
            raise RunError(
                f"{run.store.uri}: its token ids are of another tokenizer ({known.fingerprint}) than that of "
                f"{config.model.base} ({tokenizer.fingerprint}); {remedy}"
            )
        if known.max_length < config.data.max_length:
            raise RunError(
                f"{run.store.uri}: its token ids are cut at {known.max_length} tokens, below --max-length "
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
        stored_ids=stored,
        group_size=config.data.group_size,
    )
