"""Base classes and metadata of our own mteb tasks."""

from typing import Any

import datasets
from mteb.abstasks import AbsTaskRetrieval
from mteb.abstasks.abstask import AbsTask
from mteb.abstasks.task_metadata import TaskMetadata


def task_metadata(
    name: str, kind: Any, path: str, revision: str, main_score: str, language: str
) -> TaskMetadata:
    """Return the metadata that mteb needs for a task that is not its own."""
    return TaskMetadata(
        name=name,
        description=name,
        dataset={"path": path, "revision": revision},
        type=kind,
        category="t2t",
        eval_splits=["test"],
        eval_langs=[language],
        main_score=main_score,
    )


class Described(AbsTask):
    """A task whose metadata belong to the object, not the class: mteb would drop them when it unloads data."""

    def unload_data(self) -> None:
        metadata = self.metadata
        super().unload_data()
        self.metadata = metadata


class OwnRetrieval(Described, AbsTaskRetrieval):
    """A retrieval task over texts in memory."""

    def set_texts(
        self, corpus: dict[str, str], queries: dict[str, str], relevant: dict[str, dict[str, int]]
    ) -> None:
        def rows(texts: dict[str, str]) -> datasets.Dataset:
            return datasets.Dataset.from_dict({"id": list(texts), "text": list(texts.values())})

        split = {
            "corpus": rows(corpus),
            "queries": rows(queries),
            "relevant_docs": relevant,
            "top_ranked": None,
        }
        self.dataset = {"default": {"test": split}}  # type: ignore[dict-item]
        self.data_loaded = True
