"""Tasks of mteb with a few texts each."""

from mteb.mocks import mock_tasks
from mteb.mocks.mock_tasks.clustering import MockClusteringTask

CLASSES = [
    mock_tasks.MockClassificationTask,
    MockClusteringTask,
    mock_tasks.MockPairClassificationTask,
    mock_tasks.MockRerankingTask,
    mock_tasks.MockRetrievalTask,
    mock_tasks.MockSTSTask,
    mock_tasks.MockSummarizationTask,
]
"""The seven categories of Table 6, as mteb's own classes with a few texts each."""
