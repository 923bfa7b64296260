"""SST-2 as the paper scores it (Table 4)."""

from typing import Any

import datasets
from mteb.abstasks.zeroshot_classification import AbsTaskZeroShotClassification

from gte_ray.evaluation.mteb.own import Described, task_metadata

SST2_DATASET = ("stanfordnlp/sst2", "8d51e7e4887a4caaa95b3fbebbf53c0490b58bbb")
"""Name and revision."""
SST2_LABELS = {"plain": "{}", "prompted": "this is an example of {} movie review"}
"""Templates that turn a label into a text (section 4.1)."""


class SentimentByLabels(Described, AbsTaskZeroShotClassification):
    """SST-2 without training: choose the label whose text is closest to the sentence (section 4.1)."""

    metadata = task_metadata("sst2", "ZeroShotClassification", *SST2_DATASET, "accuracy")
    input_column_name = "sentence"
    label_column_name = "label"

    def __init__(self, kind: str, path: str = SST2_DATASET[0], **named: Any):
        self.template = SST2_LABELS[kind]
        name = f"SST2-{kind}"
        self.metadata = task_metadata(name, "ZeroShotClassification", path, SST2_DATASET[1], "accuracy")
        super().__init__(**named)

    def load_data(self, *arguments: Any, **named: Any) -> None:
        if self.data_loaded:
            return
        # The labels of the test set were never published.
        path = self.metadata.dataset["path"]
        rows = datasets.load_dataset(path, split="validation", revision=SST2_DATASET[1])
        self.dataset = datasets.DatasetDict({"test": rows})
        self.data_loaded = True

    def get_candidate_labels(self) -> list[str]:
        return [self.template.format(label) for label in ("negative", "positive")]
