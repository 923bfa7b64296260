"""Releases what Ray's AutoscalingCoordinator still reserves for a run whose controller was killed.

The coordinator keeps such a reservation for three more minutes, in which an elastic run finds no room.
"""

import contextlib

import ray
from ray.exceptions import GetTimeoutError, RayActorError

from gte_ray.runtime import storage

COORDINATOR = "AutoscalingCoordinator"
"""Name and namespace of Ray's actor."""
ANSWER_SECONDS = 10.0


def renew(run_folder: str, run_id: str) -> None:
    """Cancels the reservation of the run's last attempt. `run_id` is Ray Train's id of the next attempt."""
    path = storage.join(run_folder, "reservation.json")
    if storage.exists(path):
        # There may be no such actor, or it may not answer: the reservation then expires.
        with contextlib.suppress(ValueError, RayActorError, GetTimeoutError):
            coordinator = ray.get_actor(COORDINATOR, namespace=COORDINATOR)
            last = storage.read_json(path)["run_id"]
            ray.get(coordinator.cancel_request.remote(f"train-{last}"), timeout=ANSWER_SECONDS)
    storage.write_json(path, {"run_id": run_id})
