"""One cluster for all tests that need it."""

from collections.abc import Iterator

import pytest

from tests.cluster.chaos import CPUS
from tests.cluster.nodes import Nodes


@pytest.fixture(scope="package")
def nodes(bucket) -> Iterator[Nodes]:
    """A cluster of two nodes, each a raylet, on this machine."""
    with Nodes(2, CPUS) as found:
        yield found
