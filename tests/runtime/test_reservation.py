"""What a killed controller had reserved is given back, with Ray's own coordinator."""

import pytest
import ray

from gte_ray.runtime.reservation import COORDINATOR, renew


@pytest.fixture
def coordinator(ray_local):
    ray.data.range(1).map_batches(lambda rows: rows).materialize()  # Ray Data starts it
    found = ray.get_actor(COORDINATOR, namespace=COORDINATOR)
    yield found
    ray.get(found.cancel_request.remote("train-two"))


def reserved(coordinator, run_id: str) -> float:
    """CPUs that Ray would give to a run that asks for all of the cluster's."""
    request = coordinator.request_resources.remote(
        requester_id=f"train-{run_id}",
        resources=[{"CPU": 1.0}] * 4,
        label_selectors=[{}] * 4,
        expire_after_s=180,
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
