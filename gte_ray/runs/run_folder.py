"""The folder of a run: whose it is, and whether the run that wants it is that very one."""

import dataclasses
import secrets
from typing import Any

from gte_ray.config import Config, from_dict
from gte_ray.errors import UsageError
from gte_ray.runs.plan import Run
from gte_ray.runtime import storage
from gte_ray.runtime.uri import without_password

CONFIG_FILE = "config.json"
RESULTS_FILE = "results.json"
OTHERWISE = "the store's pairs or tokenizer, the base model's weights or the version of gte_ray differ"
"""What a fingerprint holds beside the settings."""


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
