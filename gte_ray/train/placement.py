"""Free the placement group of workers whose controller was lost and could not free it itself.

Nothing else frees it if Ray has no dashboard, and the next workers would find no room.
"""

from typing import Any

import ray


class Placement:
    """An actor that holds Ray's placement group of the workers that started last."""

    def __init__(self) -> None:
        self.group: Any = None

    def note(self, group: Any) -> None:
        self.group = group

    def take(self) -> Any:
        """Return the group, or None if it was already taken since it was noted."""
        group, self.group = self.group, None
        return group


def note_placement(placement: Any) -> None:
    """Record this worker's placement group, as each worker starts; `placement` is the actor's handle."""
    ray.get(placement.note.remote(ray.util.get_current_placement_group()))


def free_placement(placement: Any) -> None:
    """Free the placement group of the workers started last; raises RayActorError if the actor is lost."""
    group = ray.get(placement.take.remote())
    if group is not None:
        ray.util.remove_placement_group(group)
