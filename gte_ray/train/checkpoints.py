"""A run's checkpoints, as registered by Ray Train in the run's folder."""

import json

import ray.train

from gte_ray.errors import RunError
from gte_ray.runtime import storage

CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints inside a run's folder."""
STATE_FILE = "state.json"
"""File in each checkpoint with the step that it was saved after."""


def last_checkpoint(run_folder: str) -> ray.train.Result | None:
    """Return the last registered checkpoint of a run with its metrics (`step`), or None if there is none.

    Raises RunError if Ray Train's record of the checkpoints is damaged.
    """
    filesystem, path = storage.resolve(storage.join(run_folder, CHECKPOINTS))
    try:
        result = ray.train.Result.from_path(path, storage_filesystem=filesystem)
    except RuntimeError:  # Ray raises it for a run without checkpoints
        return None
    except OSError:
        raise
    except Exception as error:  # Ray's exception for a damaged record is private
        raise RunError(f"{path}: the record of the run's checkpoints cannot be read ({error})") from error
    return result if result.checkpoint is not None else None


def next_step(run_folder: str) -> int:
    """Return the first step that no checkpoint of the run covers."""
    result = last_checkpoint(run_folder)
    return 0 if result is None else result.metrics["step"] + 1


def step_after(checkpoint: ray.train.Checkpoint | None) -> int:
    """Return the step that follows `checkpoint`, without downloading the rest of it; 0 for None."""
    if checkpoint is None:
        return 0
    path = f"{checkpoint.path}/{STATE_FILE}"
    try:
        with checkpoint.filesystem.open_input_stream(path) as state:
            return json.loads(state.read())["step"] + 1
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"checkpoint {checkpoint.path} cannot be continued: {error}") from error


def delete_orphans(run_folder: str) -> None:
    """Delete checkpoints that a crash left unregistered with Ray Train: nothing reads them."""
    result = last_checkpoint(run_folder)
    registered = {storage.name(kept.path) for kept, _ in result.best_checkpoints} if result else set()
    folder = storage.join(run_folder, CHECKPOINTS)
    for name in storage.folders(folder):
        if name.startswith("checkpoint_") and name not in registered:
            storage.delete(storage.join(folder, name))
