"""What Ray's AutoscalingCoordinator reserves for a run, given back for a controller that could not do so itself.

It keeps what a killed controller had asked for another three minutes, in which an elastic run finds no room.
"""

import contextlib

import ray
from ray.exceptions import GetTimeoutError, RayActorError

from gte_ray.runtime import storage

COORDINATOR = "AutoscalingCoordinator"
"""Name and namespace of Ray's actor."""
ANSWER_SECONDS = 10.0


def renew(run_folder: str, run_id: str) -> None:
    """Gives back what the last attempt of the run had reserved; `run_id` is Ray Train's for the next one."""
    path = storage.join(run_folder, "reservation.json")
    if storage.exists(path):
        # There may be no such actor, or it may not answer: then what is reserved expires.
        with contextlib.suppress(ValueError, RayActorError, GetTimeoutError):
            coordinator = ray.get_actor(COORDINATOR, namespace=COORDINATOR)
            last = storage.read_json(path)["run_id"]
            ray.get(coordinator.cancel_request.remote(f"train-{last}"), timeout=ANSWER_SECONDS)
    storage.write_json(path, {"run_id": run_id})
