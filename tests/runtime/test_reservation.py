"""What a killed controller had reserved is given back, with Ray's own coordinator."""

import pytest
import ray
from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import (
    ResourceRequestPriority,
    get_or_create_autoscaling_coordinator,
)

from gte_ray.runtime.reservation import renew


@pytest.fixture
def coordinator(ray_local):
    found = get_or_create_autoscaling_coordinator()
    yield found
    ray.get(found.cancel_request.remote("train-two"))


def reserved(coordinator, run_id: str) -> float:
    """CPUs that Ray would give to a run that asks for all of the cluster's."""
    request = coordinator.request_resources.remote(
        requester_id=f"train-{run_id}",
        resources=[{"CPU": 1.0}] * 4,
        label_selectors=[{}] * 4,
        expire_after_s=180,
        priority=ResourceRequestPriority.HIGH,
    )
    ray.get(request)
    found = ray.get(coordinator.get_reserved_resources.remote(f"train-{run_id}"))
    return sum(node.get("CPU", 0.0) for node in found.values())


def test_what_the_last_attempt_had_is_given_back(coordinator, tmp_path):
    renew(str(tmp_path), "one")
    assert reserved(coordinator, "one") == 4
    assert reserved(coordinator, "two") == 0
    renew(str(tmp_path), "two")
    assert reserved(coordinator, "two") == 4
