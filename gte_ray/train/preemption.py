"""Notices that a node is about to be taken away, as clouds give for spot machines."""

import time

import ray.train
import torch

from gte_ray.model.gather import sum_over_ranks

ASK_SECONDS = 2.0
"""Time between two questions to Ray, which make all ranks wait for each other."""


class Notices:
    """What Ray knows of nodes that are being taken away. All ranks ask alike and get the same answer."""

    def __init__(self, device: torch.device):
        self.device = device
        self.asked = time.monotonic()
        self.known: set[str] = set()

    def new(self) -> bool:
        """Whether a node with a worker of this run was given notice since the last call."""
        due = time.monotonic() - self.asked >= ASK_SECONDS
        # Clocks differ: one rank that is due makes all of them ask.
        if not sum_over_ranks(torch.tensor(float(due), device=self.device)):
            return False
        self.asked = time.monotonic()
        info = ray.train.get_preemption_info()
        found = set(info.preempted_node_ids) if info else set()
        new, self.known = found - self.known, found | self.known
        return bool(new)
