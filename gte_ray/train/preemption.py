"""Preemption notices, which clouds give for spot machines before they take a node away."""

import time

import ray.train
import torch

from gte_ray.model.gather import sum_over_ranks

ASK_SECONDS = 2.0
"""Time between two queries to Ray, which make all ranks wait for each other."""


class Notices:
    """Ray's preemption notices. All ranks query together and get the same answer."""

    def __init__(self, device: torch.device):
        self.device = device
        self.asked = time.monotonic()
        self.known: set[str] = set()

    def new(self) -> bool:
        """Return whether a node with a worker of this run was given notice since the last query."""
        due = time.monotonic() - self.asked >= ASK_SECONDS
        # Clocks differ: if one rank is due, all ranks query.
        if not sum_over_ranks(torch.tensor(float(due), device=self.device)):
            return False
        self.asked = time.monotonic()
        info = ray.train.get_preemption_info()
        node_ids = set(info.preempted_node_ids) if info else set()
        new, self.known = node_ids - self.known, node_ids | self.known
        return bool(new)
