"""The folder of a run: which run it belongs to, and whether that is the run that opens it."""

import dataclasses
import secrets
from typing import Any

from gte_ray.config import Config, from_dict
from gte_ray.errors import UsageError
from gte_ray.runs.lowering import lowered
from gte_ray.runs.plan import Run
from gte_ray.runs.results import is_finished
from gte_ray.runtime import storage
from gte_ray.runtime.cluster import command_line
from gte_ray.runtime.uri import without_password

CONFIG_FILE = "config.json"
OTHERWISE = "the store's pairs or tokenizer, the weights of the base model or the guide, or the version of gte_ray differ"
"""What a fingerprint covers besides the settings."""


def open_run(run: Run, fresh: bool) -> Run:
    """Creates the run's folder, or checks that an existing one belongs to this run. `fresh` starts over.

    Returns the run, or what it becomes where its steps are lowered (see `lowered`). Raises UsageError if the folder
    belongs to another run, or if `fresh` would delete a folder that is not a run's.
    """
    recorded, key = _recorded(run), _new_key(run)
    if fresh and recorded is not None:
        storage.delete(run.folder)
    elif fresh and storage.exists(run.folder):
        raise UsageError(
            f"--fresh: {run.folder} is no run's folder, so it is not deleted; give another --name or --output"
        )
    elif recorded is not None:
        key = recorded["key"]
        if recorded["fingerprint"] != run.fingerprint:
            ended = lowered(run, recorded)
            if ended is None:
                changed = _changed(recorded["config"], run.config)
                raise UsageError(
                    f"--name {run.name}: a run of that name was made with other settings ({changed}); "
                    "give another --name, or --fresh to start over"
                )
            run = ended
            if recorded["fingerprint"] != run.fingerprint:
                # From its last checkpoint on its steps are others: MLflow, which has those that were done since, keeps them.
                key = _new_key(run)
    if recorded is not None and not fresh and is_finished(run.folder):
        return run  # with the config that it was finished with: where it is computed may differ
    storage.write_json(
        storage.join(run.folder, CONFIG_FILE),
        {
            "key": key,
            "fingerprint": run.fingerprint,
            "config": public(run.config).to_dict(),
            "command": command_line(),
        },
    )
    return run


def _new_key(run: Run) -> str:
    return f"{run.name}-{secrets.token_hex(4)}"


def _recorded(run: Run) -> dict[str, Any] | None:
    """The content of the folder's config file, or None. Raises UsageError if it is not a run's."""
    path = storage.join(run.folder, CONFIG_FILE)
    if not storage.exists(path):
        return None
    record = storage.read_json(path)
    if "key" not in record:
        raise UsageError(f"{path} is not that of a run; give another --name or --output")
    return record


def public(config: Config) -> Config:
    """`config` for others to see: users and passwords in its URIs are masked."""

    def masked(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: masked(part) for name, part in value.items()}
        return without_password(value) if isinstance(value, str) else value

    return from_dict(masked(config.to_dict()))


def run_key(run: Run) -> str:
    """The key of the opened `run` in MLflow. Each fresh start makes a new one."""
    return storage.read_json(storage.join(run.folder, CONFIG_FILE))["key"]


def _changed(recorded: dict[str, Any], config: Config) -> str:
    try:
        return differences(from_dict(recorded), config) or OTHERWISE
    except UsageError as error:
        return f"its {CONFIG_FILE} has {error}"


def differences(old: Config, new: Config) -> str:
    """The differing fields that affect what is computed, as `alpha 0.5 -> 1.0, ...`."""
    changed = []
    for section in ("data", "model", "objective", "training"):
        before, after = getattr(old, section), getattr(new, section)
        for field in dataclasses.fields(before):
            old_value, new_value = getattr(before, field.name), getattr(after, field.name)
            if old_value != new_value and field.name != "store":
                changed.append(f"{field.name} {old_value} -> {new_value}")
    if old.seed != new.seed:
        changed.append(f"seed {old.seed} -> {new.seed}")
    return ", ".join(changed)
