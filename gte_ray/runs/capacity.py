"""Checks that Ray has the CPUs and GPUs that a run reserves, before anything waits for them."""

import os
from collections.abc import Callable

import ray

from gte_ray.config import Config
from gte_ray.errors import RunError

READING_CPUS = 1
"""Logical CPUs for reading data, besides those of the workers. Without a free one, a stream waits forever."""


def needs(config: Config, other_cpus: float = 0.0) -> dict[str, float]:
    """The least of Ray's resources that one run takes, with `other_cpus` for the process that drives it."""
    workers = config.hardware.workers
    spared = (workers.most - workers.fewest) * config.hardware.worker_cpus
    resources = {"CPU": config.cpus - spared + READING_CPUS + other_cpus}
    return resources | ({"GPU": workers.fewest} if config.hardware.gpu else {})


def side_by_side(config: Config, other_cpus: float = 0.0) -> int:
    """Number of such runs that fit into Ray's present resources at the same time, at least 1."""
    cluster = ray.cluster_resources()
    return max(1, int(min(cluster.get(name, 0) // n for name, n in needs(config, other_cpus).items())))


def check_capacity(config: Config, warn: Callable[[str], None], other_cpus: float = 0.0) -> None:
    """Raises RunError if a local Ray lacks resources for the run. On a cluster, which may grow, warns."""
    cluster = ray.cluster_resources()
    missing = [
        f"{n:g} {name}s, of which Ray has {cluster.get(name, 0):g}"
        for name, n in needs(config, other_cpus).items()
        if cluster.get(name, 0) < n
    ]
    if not missing:
        _check_left_over(config, warn)
        return
    sentence = (
        f"{config.hardware.workers.fewest} worker(s) and the reading of data need {' and '.join(missing)}"
    )
    if not os.environ.get("RAY_ADDRESS"):
        raise RunError(f"{sentence}; see --workers, --worker-cpus and --no-gpu")
    warn(f"{sentence}; waiting for the cluster to grow")


def _check_left_over(config: Config, warn: Callable[[str], None]) -> None:
    """Warns if the workers of an elastic run may take all CPUs of every node and leave none to read data."""
    hardware = config.hardware
    if hardware.gpu or not hardware.workers.elastic:
        return
    nodes = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    if all(cpus % hardware.worker_cpus < READING_CPUS for cpus in nodes):
        warn(
            f"workers may take all CPUs of all nodes, and none is left to read data with; give a "
            f"--worker-cpus (now {hardware.worker_cpus:g}) that leaves a CPU of a node over"
        )
