"""Bounds to how often Ray Train starts workers again, where its own policy has none or is of no use."""

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

    Ray Train counts workers that are lost while they train. Where they are lost as they start, it tries again
    without end, and keeps the room that they had, so that no next ones find any. Where their settings take too
    much memory, it starts them again although that fails again.
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
