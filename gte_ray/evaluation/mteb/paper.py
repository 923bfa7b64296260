"""The paper's own scores, in percent, by mteb's names of the tasks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperRow:
    """One row of a table in the paper."""

    name: str
    scores: dict[str, float]
    """By task or category."""
    average: float


CATEGORIES = {
    "Classification": "Class.",
    "Clustering": "Clust.",
    "PairClassification": "Pair.",
    "Reranking": "Rerank",
    "Retrieval": "Retr.",
    "STS": "STS",
    "Summarization": "Summ.",
}
"""mteb's types of task, and the columns of Table 6."""


def _table_6(name: str, *scores: float) -> PaperRow:
    return PaperRow(name, dict(zip(CATEGORIES, scores[:-1], strict=True)), scores[-1])


MTEB = (
    _table_6("GTE small, PT", 71.0, 44.9, 82.4, 57.5, 43.4, 77.2, 30.4, 58.5),
    _table_6("GTE base, PT", 71.5, 46.0, 83.3, 58.4, 44.2, 76.5, 29.5, 59.0),
    _table_6("GTE large, PT", 71.8, 46.4, 83.3, 58.8, 44.6, 76.3, 30.1, 59.3),
    _table_6("GTE small", 72.3, 44.9, 83.5, 57.7, 49.5, 82.1, 30.4, 61.4),
    _table_6("GTE base", 73.0, 46.1, 84.3, 58.6, 51.2, 82.3, 30.7, 62.4),
    _table_6("GTE large", 73.3, 46.8, 85.0, 59.1, 52.2, 83.4, 31.7, 63.1),
)
"""Table 6."""

BEIR_TASKS = (
    "MSMARCO", "TRECCOVID", "NFCorpus", "NQ", "HotpotQA", "FiQA2018", "ArguAna", "Touche2020",
    "CQADupstackRetrieval", "QuoraRetrieval", "DBPedia", "SCIDOCS", "FEVER", "ClimateFEVER", "SciFact",
)  # fmt: skip
"""In the order of Table 5."""


def _table_5(name: str, *scores: float) -> PaperRow:
    return PaperRow(name, dict(zip(BEIR_TASKS, scores[:-1], strict=True)), scores[-1])


BEIR = (
    _table_5("BM25", 22.8, 65.6, 32.5, 32.9, 60.3, 23.6, 31.5, 36.7, 29.9, 78.9, 31.3, 15.8, 75.3, 21.3, 66.5, 41.7),
    _table_5("GTE small, PT", 31.3, 61.8, 34.9, 32.0, 49.3, 37.0, 41.6, 17.7, 38.1, 86.1, 33.5, 21.5, 71.3, 21.4, 72.7, 43.4),
    _table_5("GTE base, PT", 31.8, 64.0, 36.2, 35.3, 50.8, 36.9, 41.0, 18.2, 39.9, 85.0, 33.2, 22.5, 72.7, 21.0, 74.1, 44.2),
    _table_5("GTE large, PT", 31.7, 64.8, 38.1, 34.5, 49.2, 40.6, 41.3, 18.5, 39.8, 84.8, 33.6, 22.7, 70.5, 25.4, 74.1, 44.6),
)  # fmt: skip
"""Table 5, nDCG@10."""

LANGUAGES = ("ruby", "javascript", "go", "python", "java", "php")
"""In the order of Tables 7 and 13."""


def _code(setting: str, *scores: float) -> PaperRow:
    names = [f"CodeSearchNet-{setting}-{language}" for language in LANGUAGES]
    return PaperRow(f"GTE base, {setting}", dict(zip(names, scores[:-1], strict=True)), scores[-1])


CODESEARCHNET = (
    _code("all", 76.1, 73.6, 88.1, 95.9, 80.1, 85.3, 83.2),
    _code("1k", 79.6, 79.4, 84.2, 98.8, 86.8, 86.8, 85.9),
)
"""Tables 7 and 13, mean reciprocal rank."""

SST2 = (PaperRow("GTE base", {"SST2-plain": 85.1, "SST2-prompted": 87.2}, 86.15),)
"""Table 4, accuracy."""
