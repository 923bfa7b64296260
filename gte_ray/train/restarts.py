"""Limits on how often Ray Train restarts workers, where its own policy has none or does not help."""

from typing import Any

import ray
from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.controller.state import (
    ErroredState,
    ReschedulingState,
    RestartingState,
)

from gte_ray.errors import LOWER_IN_TRAINING, OutOfMemory, cause_of, explain


class Restarts(WorkerGroupCallback, ControllerCallback):
    """Runs inside Ray Train's controller, and ends the training by raising.

    Ray Train counts only workers that are lost while they train. If they are lost as they start, it retries
    without limit and keeps their placement group, so the next workers find no room. If the settings need too
    much memory, it restarts workers although they will fail again.
    """

    def __init__(self, max_failures: int):
        self.max_failures = max_failures
        self.failed_starts = 0
        self.room: Any = None
        """Ray's placement group of the workers that started last."""

    def before_init_train_context(self, workers: list[Any]) -> dict[str, Any]:
        self.room = ray.get(workers[0].execute_async(ray.util.get_current_placement_group))
        return {}

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        if isinstance(current_state, RestartingState):
            cause = cause_of(current_state.training_failed_error)
            if isinstance(cause, OutOfMemory):
                raise cause
        elif isinstance(current_state, ErroredState):
            self._free()
        elif isinstance(current_state, ReschedulingState):
            failure = getattr(current_state.training_failed_error, "controller_failure", None)
            if isinstance(failure, WorkerGroupStartupFailedError):
                self._free()
                self.failed_starts += 1
                if self.failed_starts > self.max_failures:
                    raise explain(failure, LOWER_IN_TRAINING)

    def _free(self) -> None:
        if self.room is not None:
            ray.util.remove_placement_group(self.room)
            self.room = None
