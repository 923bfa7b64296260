"""Base classes and metadata of our own mteb tasks."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import datasets
from mteb.abstasks import AbsTaskRetrieval
from mteb.abstasks.abstask import AbsTask
from mteb.abstasks.task_metadata import TaskMetadata


def task_metadata(
    name: str, kind: Any, path: str, revision: str, main_score: str, subsets: tuple[str, ...] = ()
) -> TaskMetadata:
    """Return the metadata that mteb needs for a task that is not its own."""
    languages = ["eng-Latn"]
    return TaskMetadata(
        name=name,
        description=name,
        dataset={"path": path, "revision": revision},
        type=kind,
        category="t2t",
        eval_splits=["test"],
        eval_langs=dict.fromkeys(subsets, languages) or languages,
        main_score=main_score,
    )


class Described(AbsTask):
    """A task whose metadata belong to the object, not the class: mteb would drop them when it unloads data."""

    def unload_data(self) -> None:
        metadata = self.metadata
        super().unload_data()
        self.metadata = metadata


class Texts(NamedTuple):
    """A corpus, its queries, and the relevant documents of each query; by id."""

    corpus: dict[str, str]
    queries: dict[str, str]
    relevant: dict[str, dict[str, int]]


class OwnRetrieval(Described, AbsTaskRetrieval):
    """A retrieval task over texts in memory."""

    def set_texts(self, subsets: Mapping[str, Texts]) -> None:
        """Sets the texts of each subset; a task without subsets has one called default."""

        def rows(texts: dict[str, str]) -> datasets.Dataset:
            return datasets.Dataset.from_dict({"id": list(texts), "text": list(texts.values())})

        self.dataset = {
            name: {
                "test": {
                    "corpus": rows(texts.corpus),
                    "queries": rows(texts.queries),
                    "relevant_docs": texts.relevant,
                    "top_ranked": None,
                }
            }
            for name, texts in subsets.items()
        }
        self.data_loaded = True
