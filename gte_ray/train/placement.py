"""The room that workers had, given back for a controller that was lost and could not do so itself.

Nothing else frees it where Ray has no dashboard, and the next workers would find none.
"""

from typing import Any

import ray


class Placement:
    """An actor that knows Ray's placement group of the workers that started last."""

    def __init__(self) -> None:
        self.group: Any = None

    def note(self, group: Any) -> None:
        self.group = group

    def take(self) -> Any:
        """The group, None if it was taken since it was noted."""
        group, self.group = self.group, None
        return group


def note_placement(placement: Any) -> None:
    """Called in each worker as it starts; `placement` is a handle of the actor."""
    ray.get(placement.note.remote(ray.util.get_current_placement_group()))


def free_placement(placement: Any) -> None:
    """Frees the room of the workers that started last. Raises RayActorError where the actor is lost."""
    group = ray.get(placement.take.remote())
    if group is not None:
        ray.util.remove_placement_group(group)
