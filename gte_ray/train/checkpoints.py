"""The checkpoints of a run, as Ray Train has registered them in its folder."""

import ray.train

from gte_ray.errors import RunError
from gte_ray.runtime import storage

CHECKPOINTS = "checkpoints"
"""Folder of a run's checkpoints, inside the run's own."""


def last_checkpoint(run_folder: str) -> ray.train.Result | None:
    """The last registered checkpoint of a run with its metrics (`step`), None where there is none.

    Raises RunError where Ray Train's record of them is damaged.
    """
    filesystem, path = storage.resolve(storage.join(run_folder, CHECKPOINTS))
    try:
        result = ray.train.Result.from_path(path, storage_filesystem=filesystem)
    except RuntimeError:  # Ray's answer for a run without checkpoints
        return None
    except OSError:
        raise
    except Exception as error:  # what Ray raises for a damaged record is private
        raise RunError(f"{path}: the record of the run's checkpoints cannot be read ({error})") from error
    return result if result.checkpoint is not None else None


def next_step(run_folder: str) -> int:
    """First step that no checkpoint of the run covers."""
    result = last_checkpoint(run_folder)
    return 0 if result is None else result.metrics["step"] + 1


def delete_orphans(run_folder: str) -> None:
    """Deletes checkpoints that a crash left before Ray Train had registered them: nothing reads them."""
    result = last_checkpoint(run_folder)
    registered = {storage.name(kept.path) for kept, _ in result.best_checkpoints} if result else set()
    folder = storage.join(run_folder, CHECKPOINTS)
    for found in storage.folders(folder):
        if found.startswith("checkpoint_") and found not in registered:
            storage.delete(storage.join(folder, found))
